//! What placement sees of a node.

use skerry_types::{
    AllocationLimit, Attributes, Labels, NodeFacts, NodeName, Point, Resources, SiteName, Taint,
};

/// What placement sees of a node, apart from what is used on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeView {
    /// Its name.
    pub name: NodeName,
    /// Its site.
    pub site: SiteName,
    /// What selectors and spreads ask for; `node.name` and `site.name` are added by themselves.
    pub attributes: Attributes,
    /// Marks that keep workloads away.
    pub taints: Vec<Taint>,
    /// What workloads may reserve.
    pub capacity: Resources,
    /// How many allocations it may hold.
    pub limit: AllocationLimit,
    /// How many graphics processors of the capacity there are, by number from 0.
    pub gpus: u16,
    /// First and last port of the range for `host: auto`.
    pub port_range: (u16, u16),
    /// Whether its link is up; a node without one takes nothing more.
    pub reachable: bool,
    /// False when it is cordoned or drained; it then takes nothing more.
    pub schedulable: bool,
    /// Where its site lies.
    pub point: Option<Point>,
    /// What its site's link costs, in millionths of the operator's unit of money for a megabyte.
    pub micros_per_mb: u64,
}

/// The attributes of a node by which manifests select: `node.name`, `node.arch`, `node.os`, `node.cores`, `node.memory_mb`
/// (MiB), `node.gpus` (how many), `node.gpu_model` (the first one's, where there is one), `node.LABEL`, `site.name` and
/// `site.LABEL`. A label cannot take the place of a fact.
pub fn attributes(name: &NodeName, site: &SiteName, facts: &NodeFacts, site_labels: &Labels) -> Attributes {
    let labels = |shelf: &'static str, labels: &Labels| -> Vec<(String, String)> {
        labels.iter().map(|(key, value)| (format!("{shelf}.{key}"), value.clone())).collect()
    };
    let mut attributes: Attributes =
        labels("node", &facts.labels).into_iter().chain(labels("site", site_labels)).collect();
    let known = [
        ("node.name", name.to_string()),
        ("node.arch", facts.arch.clone()),
        ("node.os", facts.os.clone()),
        ("node.cores", (facts.machine.cpu.0 / 1000).to_string()),
        ("node.memory_mb", (facts.machine.memory.0 >> 20).to_string()),
        ("node.gpus", facts.gpus.len().to_string()),
        ("site.name", site.to_string()),
    ];
    attributes.extend(known.map(|(key, value)| (key.to_owned(), value)));
    // A forged label must not stand for a processor that is not there.
    attributes.remove("node.gpu_model");
    attributes.extend(facts.gpus.first().map(|gpu| ("node.gpu_model".to_owned(), gpu.model.clone())));
    attributes
}

#[cfg(test)]
mod tests {
    use super::*;
    use skerry_types::{Bytes, Gpu, MilliCpu};

    #[test]
    fn facts_and_labels_become_attributes() {
        let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let facts = NodeFacts {
            machine: Resources {
                cpu: MilliCpu(4000),
                memory: Bytes(2048 << 20),
                disk: Bytes(0),
                ..Resources::default()
            },
            labels: Labels::from([
                label("rack", "r1"),
                label("name", "forged"),
                label("gpu_model", "forged"),
            ]),
            arch: "arm64".to_owned(),
            ..NodeFacts::default()
        };
        let with_gpu =
            NodeFacts { gpus: vec![Gpu { model: "t4".to_owned(), devices: Vec::new() }], ..facts.clone() };
        let site_labels = Labels::from([label("country", "no")]);
        let of = |facts| {
            attributes(&NodeName::new("n1").unwrap(), &SiteName::new("oslo").unwrap(), facts, &site_labels)
        };
        assert_eq!(of(&facts).get("node.gpu_model"), None);
        let attributes = of(&with_gpu);
        let check = |key: &str, value: &str| assert_eq!(attributes[key], value, "{key}");
        check("node.name", "n1");
        check("node.arch", "arm64");
        check("node.cores", "4");
        check("node.memory_mb", "2048");
        check("node.rack", "r1");
        check("node.gpus", "1");
        check("node.gpu_model", "t4");
        check("site.name", "oslo");
        check("site.country", "no");
    }
}
