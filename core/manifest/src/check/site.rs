//! A site.

use skerry_types::{LinkClass, Point, SiteName, SiteSpec};

use super::{amount, labels, zone};
use crate::faults::Faults;
use crate::path::Path;
use crate::raw;

/// The site, or nothing when `faults` say why.
pub(crate) fn site(manifest: &raw::Site, faults: &mut Faults<'_>) -> Option<SiteSpec> {
    let root = Path::ROOT;
    let metadata = root.field("metadata");
    let path = root.field("spec");
    let spec = &manifest.spec;
    let name = faults.take(&metadata.field("name"), SiteName::new(manifest.metadata.name.as_str()));
    let labels = labels(&manifest.metadata.labels, &metadata.field("labels"), faults);
    let timezone = spec.timezone.as_deref().and_then(|name| zone(name, &path.field("timezone"), faults));
    let point =
        spec.point.as_deref().and_then(|text| faults.take(&path.field("point"), text.parse::<Point>()));
    let link_path = path.field("link");
    let cost = amount::decimal(&spec.link.cost_per_mb, 6, &link_path.field("cost_per_mb"), faults);
    Some(SiteSpec {
        name: name?,
        labels,
        timezone,
        point,
        link: LinkClass { metered: spec.link.metered, micros_per_mb: cost? },
    })
}
