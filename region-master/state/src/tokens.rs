//! Who may join.

use skerry_types::{EventLevel, NodeName, SiteName, WallTime};
use skerry_wire::{Cursor, Revision};

use crate::input::{ApiError, ApiReply, EnrollRefusal, Enrolled, NewToken, NodeIdentity};
use crate::ledger::{NodeRecord, SecretHash, TOKEN, TokenId, TokenRecord, Value, put};
use crate::nodes::Node;
use crate::state::RegionState;

/// Most tokens at a time: an operator's working set, not a database.
const TOKENS_MAX: usize = 10_000;
/// Most nodes in a region: what one master is measured for.
const NODES_MAX: usize = 10_000;

impl RegionState {
    pub(crate) fn create_token(&mut self, new: NewToken) -> Result<ApiReply, ApiError> {
        self.drop_old_tokens();
        if self.tokens.len() >= TOKENS_MAX {
            return Err(ApiError::Full { what: "join tokens", count: self.tokens.len() });
        }
        let NewToken { id, secret, site, expires, uses } = new;
        let token = TokenRecord { secret, site, created_at: self.now.wall, expires, uses, used: 0 };
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

    /// Decides about a node that shows a token. A node that asks again with the same key, because it did not get the answer,
    /// gets it again and uses the token only once.
    pub(crate) fn enroll(
        &mut self,
        id: &TokenId,
        secret: SecretHash,
        name: &NodeName,
        wanted: Option<SiteName>,
        key: [u8; 32],
    ) -> Result<Enrolled, EnrollRefusal> {
        let token = self.tokens.get(id).filter(|token| token.secret == secret).cloned();
        let token = token.ok_or(EnrollRefusal::TokenUnknown)?;
        if let Some(wanted) = wanted.filter(|wanted| *wanted != token.site) {
            return Err(EnrollRefusal::OtherSite { wanted, site: token.site });
        }
        if let Some(node) = self.nodes.get(name) {
            let again = node.record.key == key && node.record.site == token.site;
            let site = node.record.site.clone();
            let enrolled = Enrolled { node: name.clone(), site };
            return if again { Ok(enrolled) } else { Err(EnrollRefusal::NameTaken { node: name.clone() }) };
        }
        if self.now.wall > token.expires {
            return Err(EnrollRefusal::TokenExpired);
        }
        if token.used >= token.uses {
            return Err(EnrollRefusal::TokenUsedUp { uses: token.uses });
        }
        if self.nodes.len() >= NODES_MAX {
            return Err(EnrollRefusal::Full { count: self.nodes.len() });
        }
        let site = token.site.clone();
        self.save_token(id, TokenRecord { used: token.used + 1, ..token });
        self.add_node(name, site.clone(), key);
        Ok(Enrolled { node: name.clone(), site })
    }

    fn add_node(&mut self, name: &NodeName, site: SiteName, key: [u8; 32]) {
        let record = NodeRecord {
            site,
            key,
            joined_at: self.now.wall,
            last_seen: WallTime(0),
            certificate_expires: WallTime(0),
            floor: Revision(0),
            cursor: Cursor::default(),
            events_seen: 0,
        };
        let message = format!("node {name} joined site {}", record.site);
        self.nodes.insert(name.clone(), Node::new(self.config.epoch, record));
        self.cluster_upsert(name);
        self.save_node(name);
        self.tell_node(EventLevel::Info, name, "Joined", message);
    }

    /// Decides about a node that wants to keep its identity.
    pub(crate) fn renew(&self, identity: &NodeIdentity) -> Result<Enrolled, EnrollRefusal> {
        let known = self.nodes.get(&identity.node);
        known.filter(|node| node.record.key == identity.key).map_or_else(
            || Err(EnrollRefusal::Removed { node: identity.node.clone() }),
            |node| Ok(Enrolled { node: identity.node.clone(), site: node.record.site.clone() }),
        )
    }
}
