//! What certificates say.

use std::net::IpAddr;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose as Usage, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, SerialNumber, date_time_ymd,
};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::pki_types::CertificateDer;
use skerry_link::tls::pem;
use skerry_link::{REGIONS_DEEP_MAX, SpiffeId, TrustDomain, UserName, Validity};
use skerry_types::{RegionName, WallTime};

use super::directory::Draft;
use super::server::ServerNames;
use super::{BACKDATE_MAX, BACKDATE_SHARE, CaError, FIRST_OPERATOR, REGION_LIFE, ROOT_LIFE, USER_LIFE};

/// Makes a P-256 key. CA, server and user keys are P-256 because browsers take no Ed25519; nodes choose their own.
pub(super) fn make_key() -> Result<KeyPair, CaError> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
        .map_err(|source| CaError::Sign { action: "make a key", source })
}

/// From a tenth of the life before `now`, so that short test lives keep their proportions, to a life after.
pub(super) fn validity(life: Duration, now: WallTime) -> Validity {
    let life_ms = u64::try_from(life.as_millis()).unwrap_or(u64::MAX);
    Validity {
        not_before: now - (life / BACKDATE_SHARE).min(BACKDATE_MAX),
        not_after: WallTime(now.0.saturating_add(life_ms)),
    }
}

/// A kind of certificate for one holder.
pub(super) struct Profile {
    common_name: String,
    names: Vec<SanType>,
    authority: IsCa,
    key_usages: Vec<KeyUsagePurpose>,
    usages: Vec<Usage>,
}

impl Profile {
    /// For nodes and users: they only ever dial.
    pub(super) fn client(id: SpiffeId) -> Self {
        Self::leaf(id, Vec::new(), vec![Usage::ClientAuth])
    }

    /// For a master: it listens, and dials its parent.
    pub(super) fn server(id: SpiffeId, names: &ServerNames) -> Result<Self, CaError> {
        let names = names.iter().map(server_name).collect::<Result<_, _>>()?;
        Ok(Self::leaf(id, names, vec![Usage::ServerAuth, Usage::ClientAuth]))
    }

    fn leaf(id: SpiffeId, mut names: Vec<SanType>, usages: Vec<Usage>) -> Self {
        let uri = id.to_string();
        names.extend(uri_name(&uri));
        let common_name = match id {
            SpiffeId::Region { region, .. } => format!("skerry region {region}"),
            SpiffeId::Node { node, .. } => node.to_string(),
            SpiffeId::User { user, .. } => user.to_string(),
        };
        Self {
            common_name,
            names,
            authority: IsCa::ExplicitNoCa,
            key_usages: vec![KeyUsagePurpose::DigitalSignature],
            usages,
        }
    }

    fn root(domain: &TrustDomain) -> Self {
        Self::authority(format!("skerry root {domain}"), Vec::new(), BasicConstraints::Unconstrained)
    }

    /// It carries the region's id: what it signs is believed only of that region and of regions that it made itself. `below` is
    /// how many levels of regions may be under it.
    pub(super) fn region(id: &SpiffeId, region: &RegionName, below: u8) -> Self {
        let names = uri_name(&id.to_string()).into_iter().collect();
        Self::authority(format!("skerry region CA {region}"), names, BasicConstraints::Constrained(below))
    }

    fn authority(common_name: String, names: Vec<SanType>, constraints: BasicConstraints) -> Self {
        Self {
            common_name,
            names,
            authority: IsCa::Ca(constraints),
            key_usages: vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign],
            usages: Vec::new(),
        }
    }

    pub(super) fn params(self, validity: Validity) -> Result<CertificateParams, CaError> {
        let epoch = date_time_ymd(1970, 1, 1);
        // Whole seconds: certificates know no others.
        let at = |time: WallTime| epoch + Duration::from_secs(time.0 / 1000);
        let mut params = CertificateParams::default();
        params.not_before = at(validity.not_before);
        params.not_after = at(validity.not_after);
        params.serial_number = Some(serial()?);
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, self.common_name);
        params.subject_alt_names = self.names;
        params.is_ca = self.authority;
        params.key_usages = self.key_usages;
        params.extended_key_usages = self.usages;
        params.use_authority_key_identifier_extension = true;
        Ok(params)
    }
}

/// An id is ASCII by its own rules, so this is never empty.
fn uri_name(uri: &str) -> Option<SanType> {
    uri.try_into().ok().map(SanType::URI)
}

fn server_name(name: &str) -> Result<SanType, CaError> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let bad = || CaError::ServerName { name: name.to_owned() };
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    if name.len() > 253 || !name.split('.').all(label) {
        return Err(bad());
    }
    name.try_into().map(SanType::DnsName).map_err(|_| bad())
}

/// 127 random bits: positive, and never the same twice.
fn serial() -> Result<SerialNumber, CaError> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| CaError::Random)?;
    bytes[0] &= 0x7f;
    Ok(SerialNumber::from_slice(&bytes))
}

/// Makes root, region CA and first operator into a directory that nobody sees yet.
pub(super) fn make_root(
    draft: &Draft,
    domain: &TrustDomain,
    region: &RegionName,
    now: WallTime,
) -> Result<(), CaError> {
    let id = SpiffeId::Region { domain: domain.clone(), region: region.clone() };
    let root_key = make_key()?;
    let root_params = Profile::root(domain).params(validity(ROOT_LIFE, now))?;
    let root = root_params.self_signed(&root_key).map_err(sign)?;
    let root_issuer = Issuer::from_params(&root_params, &root_key);

    let key = make_key()?;
    let profile = Profile::region(&id, region, REGIONS_DEEP_MAX - 1);
    let params = profile.params(validity(REGION_LIFE, now))?;
    let certificate = params.signed_by(&key, &root_issuer).map_err(sign)?;

    draft.root(&pem(&[root.der().clone()]))?;
    draft.root_key(&root_key.serialize_pem())?;
    let chain = [certificate.der().clone()];
    let operator_life = validity(USER_LIFE, now);
    fill_region(draft, domain, &chain, &pem(&[root.der().clone()]), key, operator_life)
}

/// Writes a region's CA and its first operator.
pub(super) fn fill_region(
    draft: &Draft,
    domain: &TrustDomain,
    chain: &[CertificateDer<'static>],
    roots: &str,
    key: KeyPair,
    operator_life: Validity,
) -> Result<(), CaError> {
    let own = chain.first().ok_or(skerry_link::CertificateError::Empty)?;
    let operator_key = make_key()?;
    let user = UserName::new(FIRST_OPERATOR).map_err(skerry_link::CertificateError::from)?;
    let operator = SpiffeId::User { domain: domain.clone(), user };
    let params = Profile::client(operator).params(operator_life)?;
    draft.region(&pem(chain), &key.serialize_pem())?;
    let issuer = Issuer::from_ca_cert_der(own, key).map_err(sign)?;
    let operator = params.signed_by(&operator_key, &issuer).map_err(sign)?;
    let operator_chain: Vec<_> =
        std::iter::once(operator.der().clone()).chain(chain.iter().cloned()).collect();
    draft.operator(&pem(&operator_chain), &operator_key.serialize_pem(), roots)
}

fn sign(source: rcgen::Error) -> CaError {
    CaError::Sign { action: "sign the CA", source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_names_are_dns_names_or_addresses() {
        let check = |name: &str, good: bool| assert_eq!(server_name(name).is_ok(), good, "{name}");
        check("master.example", true);
        check("localhost", true);
        check("10.0.0.1", true);
        check("2001:db8::1", true);
        check("", false);
        check("a..b", false);
        check("a b", false);
        check("spiffe://x", false);
        check(&"a".repeat(64), false);
        check("måster.example", false);
    }

    #[test]
    fn a_life_begins_a_tenth_early_but_never_more_than_a_day() {
        let now = WallTime(1_000_000_000_000);
        let check = |life_s: u64, early_s: u64| {
            let validity = validity(Duration::from_secs(life_s), now);
            assert_eq!(now.since(validity.not_before), Duration::from_secs(early_s));
            assert_eq!(validity.not_after.since(now), Duration::from_secs(life_s));
        };
        check(10, 1);
        check(7 * 86400, 60480);
        check(365 * 86400, 86400);
    }
}
