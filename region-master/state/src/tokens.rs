//! Who may join.

use skerry_types::{EventLevel, NodeName, RegionName, SiteName, WallTime};
use skerry_wire::{Cursor, Revision};

use crate::api::{ApiError, ApiReply, NewToken};
use crate::enroll::{EnrollRefusal, EnrollWish, Enrolled};
use crate::input::ChildIdentity;
use crate::ledger::{TOKEN, Value, put};
use crate::nodes::Node;
use crate::records::{ChildName, ChildRecord, NodeRecord, SecretHash, TokenId, TokenRecord, TokenScope};
use crate::regions::ChildRegion;
use crate::state::RegionState;

/// Most tokens at a time: an operator's working set, not a database.
const TOKENS_MAX: usize = 10_000;
/// Most nodes in a region: what one master is measured for.
const NODES_MAX: usize = 10_000;
/// Most regions right below one: what level 1 is measured for.
const REGIONS_MAX: usize = 1_000;

impl RegionState {
    pub(crate) fn create_token(&mut self, new: NewToken) -> Result<ApiReply, ApiError> {
        self.drop_old_tokens();
        if self.tokens.len() >= TOKENS_MAX {
            return Err(ApiError::Full { what: "join tokens", count: self.tokens.len() });
        }
        let NewToken { id, secret, scope, expires, uses } = new;
        let token = TokenRecord { secret, scope, created_at: self.now.wall, expires, uses, used: 0 };
        self.save_token(&id, token);
        Ok(ApiReply::Token)
    }

    pub(crate) fn revoke_token(&mut self, id: &TokenId) -> Result<ApiReply, ApiError> {
        if self.tokens.remove(id).is_none() {
            return Err(ApiError::NotFound { what: "join token", name: id.to_string() });
        }
        self.outbox.batch().delete(TOKEN, id.as_str());
        Ok(ApiReply::Token)
    }

    /// Tokens that ran out are kept for a week, so that a late node is told why it may not join.
    fn drop_old_tokens(&mut self) {
        const KEPT_MS: u64 = 7 * 24 * 3600 * 1000;
        let now = self.now.wall;
        let old = |token: &TokenRecord| now.0 > token.expires.0.saturating_add(KEPT_MS);
        let gone: Vec<TokenId> =
            self.tokens.iter().filter(|(_, t)| old(t)).map(|(id, _)| id.clone()).collect();
        for id in gone {
            self.tokens.remove(&id);
            self.outbox.batch().delete(TOKEN, id.as_str());
        }
    }

    fn save_token(&mut self, id: &TokenId, token: TokenRecord) {
        put(self.outbox.batch(), &Value::TokenV1(id.clone(), token.clone()));
        self.tokens.insert(id.clone(), token);
    }

    /// Decides about a child that shows a token. One that asks again with the same key, because it did not get the answer,
    /// gets it again and uses the token only once.
    pub(crate) fn enroll(
        &mut self,
        id: &TokenId,
        secret: SecretHash,
        wish: EnrollWish,
        key: [u8; 32],
    ) -> Result<Enrolled, EnrollRefusal> {
        let token = self.tokens.get(id).filter(|token| token.secret == secret).cloned();
        let token = token.ok_or(EnrollRefusal::TokenUnknown)?;
        match (wish, token.scope.clone()) {
            (EnrollWish::Node { node, site }, TokenScope::Site(scope)) => {
                if let Some(wanted) = site.filter(|wanted| *wanted != scope) {
                    return Err(EnrollRefusal::OtherSite { wanted, site: scope });
                }
                self.enroll_node(id, token, node, scope, key)
            }
            (EnrollWish::Region { region }, TokenScope::Region(scope)) => {
                if let Some(scope) = scope.filter(|scope| *scope != region) {
                    return Err(EnrollRefusal::OtherRegion { wanted: region, region: scope });
                }
                self.enroll_region(id, token, region, key)
            }
            (EnrollWish::Region { .. }, TokenScope::Site(site)) => Err(EnrollRefusal::NotForRegions { site }),
            (EnrollWish::Node { .. }, TokenScope::Region(_)) => Err(EnrollRefusal::NotForNodes),
        }
    }

    fn enroll_node(
        &mut self,
        id: &TokenId,
        token: TokenRecord,
        node: NodeName,
        site: SiteName,
        key: [u8; 32],
    ) -> Result<Enrolled, EnrollRefusal> {
        if let Some(known) = self.nodes.get(&node) {
            let again = known.child.record.key == key && known.site == site;
            return if again {
                Ok(Enrolled::Node { node, site })
            } else {
                Err(EnrollRefusal::NameTaken { node })
            };
        }
        if self.nodes.len() >= NODES_MAX {
            return Err(EnrollRefusal::Full { what: "nodes", count: self.nodes.len() });
        }
        self.use_token(id, token)?;
        self.add_node(&node, site.clone(), key);
        Ok(Enrolled::Node { node, site })
    }

    /// Counts one use of a token, if it may be used.
    fn use_token(&mut self, id: &TokenId, token: TokenRecord) -> Result<(), EnrollRefusal> {
        if self.now.wall > token.expires {
            return Err(EnrollRefusal::TokenExpired);
        }
        if token.used >= token.uses {
            return Err(EnrollRefusal::TokenUsedUp { uses: token.uses });
        }
        self.save_token(id, TokenRecord { used: token.used + 1, ..token });
        Ok(())
    }

    fn add_node(&mut self, name: &NodeName, site: SiteName, key: [u8; 32]) {
        let message = format!("node {name} joined site {site}");
        let record = NodeRecord { child: self.new_child(key), site, events_seen: 0 };
        self.sites.add_node(&record.site, name);
        self.nodes.insert(name.clone(), Box::new(Node::new(self.epoch(), record)));
        self.cluster_upsert(name);
        self.save_node(name);
        self.tell_node(EventLevel::Info, name, "Joined", message);
    }

    fn new_child(&self, key: [u8; 32]) -> ChildRecord {
        ChildRecord {
            key,
            joined_at: self.now.wall,
            last_seen: WallTime(0),
            certificate_expires: WallTime(0),
            floor: Revision(0),
            cursor: Cursor::default(),
        }
    }

    fn enroll_region(
        &mut self,
        id: &TokenId,
        token: TokenRecord,
        region: RegionName,
        key: [u8; 32],
    ) -> Result<Enrolled, EnrollRefusal> {
        if let Some(known) = self.regions.get(&region) {
            let again = known.child.record.key == key;
            let taken = Err(EnrollRefusal::RegionNameTaken { region: region.clone() });
            return if again { Ok(Enrolled::Region { region }) } else { taken };
        }
        if self.above().contains(&region) || self.knows_below(&region) {
            return Err(EnrollRefusal::RegionNameTaken { region });
        }
        if self.regions.len() >= REGIONS_MAX {
            return Err(EnrollRefusal::Full { what: "regions", count: self.regions.len() });
        }
        self.use_token(id, token)?;
        let child = ChildRegion::new(self.epoch(), self.new_child(key), self.now.mono);
        self.regions.insert(region.clone(), child);
        self.save_region(&region);
        self.all_tenants_changed();
        let name = ChildName::Region(region.clone());
        self.tell_child(EventLevel::Info, &name, "Joined", format!("region {region} joined"));
        Ok(Enrolled::Region { region })
    }

    /// Whether a region further down has the name.
    fn knows_below(&self, name: &RegionName) -> bool {
        self.regions.values().any(|region| region.regions.contains_key(name))
    }

    /// Decides about a child that wants to keep its identity.
    pub(crate) fn renew(&self, identity: &ChildIdentity) -> Result<Enrolled, EnrollRefusal> {
        match identity {
            ChildIdentity::Node(identity) => {
                let known = self.nodes.get(&identity.node);
                let known = known.filter(|node| node.child.record.key == identity.key);
                let node = identity.node.clone();
                match known {
                    Some(known) => Ok(Enrolled::Node { node, site: known.site.clone() }),
                    None => Err(EnrollRefusal::Removed { node }),
                }
            }
            ChildIdentity::Region(identity) => {
                let region = identity.region.clone();
                let known = self.regions.get(&region);
                match known.filter(|known| known.child.record.key == identity.key) {
                    Some(_) => Ok(Enrolled::Region { region }),
                    None => Err(EnrollRefusal::RegionRemoved { region }),
                }
            }
        }
    }
}
