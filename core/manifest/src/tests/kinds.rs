//! Tenants and sites.

use skerry_types::{Bytes, MilliCpu, MilliGpu};

use super::*;

const TENANT: &str = "apiVersion: skerry/v1\nkind: Tenant\nmetadata: {name: shop}\n";
const SITE: &str = "apiVersion: skerry/v1\nkind: Site\nmetadata:\n  name: oslo-1\n";

fn one(text: &str) -> Document {
    let documents = documents(text).unwrap_or_else(|errors| panic!("{errors:#?}"));
    let [Documented { document, .. }] = <[Documented; 1]>::try_from(documents).expect("one document");
    assert_eq!(one_of(&document.to_yaml()), document);
    assert_eq!(one_of(&document.to_manifest().to_string()), document);
    document
}

fn one_of(text: &str) -> Document {
    documents(text).unwrap().remove(0).document
}

/// As [`refuses`], of a text that may hold any kind.
#[track_caller]
fn refuses_document(marked: &str, expected: &str) {
    let (text, place) = unmark(marked);
    let found = documents(&text).expect_err("the text must be refused");
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(found, [format!("{place}{expected}")], "\n{marked}");
}

#[test]
fn tenants_are_read() {
    let text = format!(
        "{TENANT}spec: {{parent: retail, weight: 200, guarantee: {{cpu: 4, memory: 8Gi}}, limit: {{cpu: 10, gpu: 2, disk: 1Ti, \
         bandwidth: 1G}}}}"
    );
    let Document::Tenant(tenant) = one(&text) else { panic!("a tenant") };
    assert_eq!((tenant.name.as_str(), tenant.weight), ("shop", 200));
    assert_eq!(tenant.parent.as_ref().map(skerry_types::TenantName::as_str), Some("retail"));
    assert_eq!(tenant.guarantee.cpu, Some(MilliCpu(4000)));
    assert_eq!(tenant.guarantee.memory, Some(Bytes(8 << 30)));
    assert_eq!(tenant.limit.gpu, Some(MilliGpu(2000)));
    assert_eq!(tenant.limit.memory, None);
    let Document::Tenant(least) = one(TENANT) else { panic!("a tenant") };
    assert!(least.parent.is_none() && least.limit.is_unbounded() && least.weight == 100);
}

#[test]
fn tenants_that_cannot_be() {
    let refuses_tenant = |spec: &str, expected: &str| {
        refuses_document(&format!("{TENANT}spec: {spec}"), &format!("tenant 'shop': spec.{expected}"));
    };
    refuses_tenant(
        "{guarantee: {cpu: ^4}, limit: {cpu: 2}}",
        "guarantee.cpu: the guarantee of 4 is more than the limit of 2: lower it or raise spec.limit.cpu",
    );
    refuses_tenant(
        "{parent: ^shop}",
        "parent: a tenant cannot be a part of itself: name another one, or leave it out",
    );
    refuses_tenant("{weight: ^0}", "weight: 0 is out of bounds: at least 1, at most 1000");
    refuses_tenant("{^quota: {}}", "quota: unknown field; did you mean 'limit'?");
    refuses_tenant(
        "{limit: {^pods: 3}}",
        "limit.pods: unknown field; the fields here are bandwidth, cpu, disk, gpu, memory",
    );
    refuses_document(
        &format!("{TENANT}^labels: {{}}"),
        "tenant 'shop': labels: unknown field; the fields here are apiVersion, kind, metadata, spec",
    );
}

#[test]
fn sites_are_read() {
    let text = format!(
        "{SITE}  labels: {{tier: edge, rank: 1.10}}\nspec:\n  timezone: Europe/Oslo\n  point: 59.91,10.75\n  \
         link: {{metered: true, cost_per_mb: 0.02}}"
    );
    let Document::Site(site) = one(&text) else { panic!("a site") };
    assert_eq!((site.name.as_str(), site.labels["rank"].as_str()), ("oslo-1", "1.10"));
    assert_eq!(site.timezone.as_deref(), Some("Europe/Oslo"));
    assert_eq!(site.point, Some("59.91,10.75".parse().unwrap()));
    assert_eq!((site.link.metered, site.link.micros_per_mb), (true, 20_000));
    let Document::Site(least) = one(SITE) else { panic!("a site") };
    assert!(least.timezone.is_none() && least.point.is_none() && !least.link.metered);
}

#[test]
fn sites_that_cannot_be() {
    let refuses_site = |spec: &str, expected: &str| {
        refuses_document(&format!("{SITE}spec: {spec}"), &format!("site 'oslo-1': spec.{expected}"));
    };
    refuses_site(
        "{timezone: ^europe/olso}",
        "timezone: 'europe/olso' is not a time zone: write an IANA name such as 'Europe/Oslo'; did you mean 'Europe/Oslo'?",
    );
    refuses_site(
        "{point: ^Oslo}",
        "point: 'Oslo' is not a place: write latitude and longitude in degrees, as in '59.91,10.75'",
    );
    refuses_site(
        "{link: {cost_per_mb: ^-1}}",
        "link.cost_per_mb: '-1' is not a number from 0 with 6 decimals at most, or is too large",
    );
    refuses_site("{^labels: {a: b}}", "labels: unknown field; it belongs to metadata");
}

#[test]
fn kinds_are_told_apart() {
    let text = format!("{TENANT}---\n{SITE}---\n{LEAST}---\n{}", SITE.replace("oslo-1", "shop"));
    let seen: Vec<_> = documents(&text)
        .unwrap()
        .iter()
        .map(|one| (one.document.kind(), one.document.name(), one.line))
        .collect();
    let expected = [
        (DocumentKind::Tenant, "shop", 1),
        (DocumentKind::Site, "oslo-1", 5),
        (DocumentKind::Workload, "web", 10),
        (DocumentKind::Site, "shop", 19),
    ];
    assert_eq!(seen, expected.map(|(kind, name, line)| (kind, name.to_owned(), line)));
    refuses_document(
        &format!("{TENANT}---\n{}", TENANT.replace("shop", "^shop")),
        "tenant 'shop': metadata.name: the text has this tenant already in line 3: keep one, or give the other another name",
    );
    refuses_document(
        &TENANT.replace("Tenant", "^Namespace"),
        "workload 'shop': kind: 'Namespace' is not read here: write 'Workload', 'Tenant' or 'Site'",
    );
    refuses(
        &TENANT.replace("Tenant", "^Tenant"),
        "workload 'shop': kind: 'Tenant' is not read here: write 'Workload'",
    );
}

#[test]
fn the_schema_has_every_kind() {
    let schema = schema();
    let kinds = schema["properties"]["kind"]["enum"].as_array().unwrap();
    assert_eq!(kinds, &["Workload", "Tenant", "Site"]);
    let branches = schema["allOf"].as_array().unwrap();
    for (kind, branch) in kinds.iter().zip(branches) {
        assert_eq!(&branch["if"]["properties"]["kind"]["const"], kind);
        assert_eq!(branch["then"]["additionalProperties"], false);
    }
    let text = schema.to_string();
    assert!(!text.contains("\"null\"") && !text.contains("anyOf") && !text.contains("$ref"), "{text}");
    let init = &branches[0]["then"]["properties"]["spec"]["properties"]["init"]["items"]["properties"];
    assert!(init["image"].is_object() && init["ports"].is_null() && init["health"].is_null());
}
