//! Who may stay with a parent: its own nodes, and regions that it made itself.

use std::sync::Arc;

use skerry_types::{RegionName, WallTime};

use crate::certificate::{KeyHash, PeerCertificate};
use crate::clock::LinkClock;
use crate::close::CloseReason;
use crate::enroll::RefusalKind;
use crate::spiffe::{SpiffeId, TrustDomain};

/// What a parent is, to those who dial it. Names alone do not make a child: any region's CA may certify a region below itself
/// under any name, so the CA that signed for a child is compared by its key.
#[derive(Debug, Clone)]
pub(crate) struct Parent {
    pub(crate) domain: TrustDomain,
    pub(crate) region: RegionName,
    /// The key of the region's CA.
    pub(crate) authority: KeyHash,
    pub(crate) clock: Arc<LinkClock>,
}

impl Parent {
    /// From the parent's own certificate; `None` if it is not a region's under a CA of its own.
    pub(crate) fn of(certificate: &PeerCertificate, clock: Arc<LinkClock>) -> Option<Self> {
        let SpiffeId::Region { domain, region } = &certificate.id else { return None };
        let authority = certificate.vouchers.first()?.key;
        Some(Self { domain: domain.clone(), region: region.clone(), authority, clock })
    }

    /// Decides whether somebody may have a link.
    pub(crate) fn admit(
        &self,
        peer: Option<PeerCertificate>,
        now: WallTime,
    ) -> Result<PeerCertificate, (CloseReason, String)> {
        let peer = peer.ok_or((CloseReason::CertificateRequired, String::new()))?;
        if let Some(why) = self.objection(&peer) {
            let detail = format!("'{}' {why} region '{}' of '{}'", peer.id, self.region, self.domain);
            return Err((CloseReason::WrongIdentity, detail));
        }
        if let Some(over) = peer.chain.expired_for(now) {
            let detail = format!("'{}' ran out {} minutes ago", peer.id, over.as_secs() / 60);
            return Err((CloseReason::CertificateExpired, detail));
        }
        Ok(peer)
    }

    /// Decides whether somebody may renew, however long the certificate has been over.
    pub(crate) fn may_renew(&self, peer: &PeerCertificate) -> Result<(), RefusalKind> {
        match (&peer.id, self.objection(peer)) {
            (_, None) => Ok(()),
            (SpiffeId::Region { .. }, Some(_)) => Err(RefusalKind::NotAChildRegion),
            (_, Some(_)) => Err(RefusalKind::NotANode),
        }
    }

    /// What speaks against somebody, in words that go between their id and this region.
    fn objection(&self, peer: &PeerCertificate) -> Option<&'static str> {
        if peer.id.domain() != &self.domain {
            return Some("is of another federation than");
        }
        let signed = |above: usize| peer.vouchers.get(above).is_some_and(|ca| ca.key == self.authority);
        match &peer.id {
            SpiffeId::User { .. } => Some("is a user: links are for nodes and child regions, use the API of"),
            SpiffeId::Node { region, .. } if *region != self.region => Some("is of another region than"),
            SpiffeId::Node { .. } if !signed(0) => Some("was not certified by the CA of"),
            SpiffeId::Region { region, .. } if *region == self.region && signed(0) => {
                Some("is this master itself,")
            }
            SpiffeId::Region { .. } if !signed(1) => Some("is not a child of"),
            SpiffeId::Node { .. } | SpiffeId::Region { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::{Fingerprint, Validity, Voucher};

    const OWN: u8 = 1;

    fn peer(id: &str, vouchers: &[(&str, u8)], not_after: u64) -> PeerCertificate {
        let validity = Validity { not_before: WallTime(0), not_after: WallTime(not_after) };
        let voucher = |(region, key): &(&str, u8)| Voucher {
            region: region.parse().unwrap(),
            key: KeyHash([*key; 32]),
        };
        PeerCertificate {
            id: id.parse().unwrap(),
            leaf: validity,
            chain: validity,
            fingerprint: Fingerprint([0; 32]),
            key: KeyHash([0; 32]),
            serial: String::new(),
            vouchers: vouchers.iter().map(voucher).collect(),
        }
    }

    fn north() -> Parent {
        Parent {
            domain: "edge.example".parse().unwrap(),
            region: "north".parse().unwrap(),
            authority: KeyHash([OWN; 32]),
            clock: Arc::new(LinkClock::system(WallTime(0))),
        }
    }

    #[test]
    fn only_children_of_this_region_stay() {
        let parent = north();
        let check = |id: &str, vouchers: &[(&str, u8)], now: u64, expect: Option<CloseReason>| {
            let got = parent.admit(Some(peer(id, vouchers, 100)), WallTime(now));
            assert_eq!(got.err().map(|(reason, _)| reason), expect, "{id} by {vouchers:?} at {now}");
        };
        let wrong = Some(CloseReason::WrongIdentity);
        let node = "spiffe://edge.example/region/north/site/oslo/node/n1";
        check(node, &[("north", OWN)], 100, None);
        check(node, &[("north", OWN)], 101, Some(CloseReason::CertificateExpired));
        check(node, &[("north", 9)], 100, wrong);
        check(node, &[], 100, wrong);
        let child = "spiffe://edge.example/region/south";
        check(child, &[("south", 2), ("north", OWN)], 100, None);
        check(child, &[("south", 2), ("north", 9)], 100, wrong);
        check(child, &[("south", 2), ("east", 3), ("north", OWN)], 100, wrong);
        check(child, &[("south", OWN)], 100, wrong);
        check("spiffe://edge.example/region/north", &[("north", OWN), ("root", 5)], 100, wrong);
        check("spiffe://edge.example/region/south/site/rome/node/n1", &[("south", OWN)], 100, wrong);
        check("spiffe://other.example/region/north/site/oslo/node/n1", &[("north", OWN)], 100, wrong);
        check("spiffe://edge.example/user/ada", &[("north", OWN)], 100, wrong);
        let none = parent.admit(None, WallTime(0)).unwrap_err();
        assert_eq!(none.0, CloseReason::CertificateRequired);
    }

    #[test]
    fn only_children_of_this_region_renew() {
        let parent = north();
        let check = |id: &str, vouchers: &[(&str, u8)], expect: Result<(), RefusalKind>| {
            assert_eq!(parent.may_renew(&peer(id, vouchers, 0)), expect, "{id} by {vouchers:?}");
        };
        let node = "spiffe://edge.example/region/north/site/oslo/node/n1";
        check(node, &[("north", OWN)], Ok(()));
        check(node, &[("north", 9)], Err(RefusalKind::NotANode));
        let child = "spiffe://edge.example/region/south";
        check(child, &[("south", 2), ("north", OWN)], Ok(()));
        check(child, &[("south", 2), ("north", 9)], Err(RefusalKind::NotAChildRegion));
        check("spiffe://edge.example/user/ada", &[("north", OWN)], Err(RefusalKind::NotANode));
    }
}
