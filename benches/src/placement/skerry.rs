//! Skerry's two levels as packers.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use anyhow::Result;
use skerry_allocator::{Cluster, Demand, NodeView};
use skerry_federation::level1::{self, HandBack, ROUNDS_MAX, RegionView};
use skerry_federation::{Alike, SiteTable, SketchInput, sketch};
use skerry_types::{
    AllocationId, AllocationLimit, Attributes, Bandwidth, Bytes, Capabilities, ContainerName, ContainerSpec,
    InstanceSet, InstanceSpec, Labels, Limits, LinkClass, MilliCpu, MilliGpu, NodeName, OnDisconnect,
    Placement, Probes, RegionName, Resources, RestartPolicy, RestartWhen, SiteDigest, SiteName, SiteSpec,
    TenantName, UpdatePolicy, WallTime, WorkloadKey, WorkloadKind, WorkloadName, WorkloadSpec,
};

use super::packer::{Free, Packer};
use super::trace::{Amount, Trace, TraceNode};

/// How old digests get.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    /// A region tells of changes when so many seconds have gone since it did last, by the time of the trace.
    Seconds(u64),
    /// After so many changes, as when a region places as many within the two seconds between its digests.
    Changes(u32),
}

/// One region that sees all nodes.
pub(crate) struct OneLevel {
    region: Region,
}

/// A parent that sees digests, over regions that see their nodes.
pub(crate) struct TwoLevel {
    regions: Vec<Region>,
    names: Vec<RegionName>,
    digests: Vec<Arc<SiteTable>>,
    alike: Alike,
    told: Vec<Told>,
    pace: Pace,
    /// When each pod arrives.
    created: Vec<u64>,
    /// Times that a region handed something back.
    pub(crate) handed_back: u32,
}

/// What a region's parent knows of its digest.
#[derive(Debug, Clone, Copy, Default)]
struct Told {
    /// When it was made, in seconds of the trace.
    at: u64,
    /// Changes since.
    changes: u32,
    /// What was taken of the region since.
    pending: Resources,
}

/// A cluster, and the place of each of its nodes in the trace.
struct Region {
    cluster: Cluster,
    numbers: BTreeMap<NodeName, usize>,
    gpus: BTreeMap<usize, u16>,
}

/// A workload of one instance.
struct Asked {
    key: WorkloadKey,
    spec: InstanceSpec,
    id: AllocationId,
}

impl OneLevel {
    pub(crate) fn new(nodes: &[TraceNode]) -> Result<Self> {
        let all: Vec<(usize, &TraceNode)> = nodes.iter().enumerate().collect();
        Ok(Self { region: Region::new(&all, &SiteName::new("s")?)? })
    }
}

impl TwoLevel {
    /// `count` regions of one site each, the nodes dealt out in turn.
    pub(crate) fn new(trace: &Trace, count: usize, pace: Pace) -> Result<Self> {
        let mut parts: Vec<Vec<(usize, &TraceNode)>> = vec![Vec::new(); count];
        for (number, node) in trace.nodes.iter().enumerate() {
            parts[number % count].push((number, node));
        }
        let mut two = Self {
            regions: Vec::new(),
            names: Vec::new(),
            digests: Vec::new(),
            alike: Alike::default(),
            told: vec![Told::default(); count],
            pace,
            created: trace.pods.iter().map(|pod| pod.created).collect(),
            handed_back: 0,
        };
        for (at, part) in parts.iter().enumerate() {
            let name = format!("r{at:03}");
            let region = Region::new(part, &SiteName::new(&name)?)?;
            let digest = Arc::new(region.digest(&name)?);
            two.digests.push(Arc::new(SiteTable::new(vec![digest], &mut two.alike)));
            two.regions.push(region);
            two.names.push(RegionName::new(name)?);
        }
        Ok(two)
    }

    /// Counts a change of a region.
    fn changed(&mut self, at: usize, taken: Resources) -> Result<()> {
        let told = &mut self.told[at];
        told.changes += 1;
        told.pending += taken;
        match self.pace {
            Pace::Changes(most) if told.changes >= most => self.tell(at, 0),
            Pace::Changes(_) | Pace::Seconds(_) => Ok(()),
        }
    }

    /// Lets every region tell that has something to tell, and has told nothing for a while.
    fn tell_all(&mut self, now: u64) -> Result<()> {
        let Pace::Seconds(seconds) = self.pace else { return Ok(()) };
        for at in 0..self.regions.len() {
            let told = &self.told[at];
            if told.changes > 0 && now >= told.at + seconds {
                self.tell(at, now)?;
            }
        }
        Ok(())
    }

    fn tell(&mut self, at: usize, now: u64) -> Result<()> {
        self.told[at] = Told { at: now, ..Told::default() };
        let digest = Arc::new(self.regions[at].digest(self.names[at].as_str())?);
        self.digests[at] = Arc::new(SiteTable::new(vec![digest], &mut self.alike));
        Ok(())
    }

    fn try_place(&mut self, pod: usize, need: &Amount) -> Result<Option<usize>> {
        self.tell_all(self.created[pod])?;
        let asked = Asked::new(pod, need)?;
        let wanted = InstanceSet::first(1);
        let mut back: BTreeMap<usize, HandBack> = BTreeMap::new();
        for round in 0..ROUNDS_MAX {
            let demand =
                level1::Demand { instance: &asked.spec, placement: &ANYWHERE, wanted: &wanted, round };
            let views: Vec<RegionView> = (0..self.regions.len()).map(|at| self.view(at, &back)).collect();
            let plan = level1::plan(&demand, &views);
            let chosen = plan.parts.iter().find(|(_, part)| !part.added.is_empty());
            let Some(at) = chosen.and_then(|(name, _)| self.names.iter().position(|known| known == name))
            else {
                return Ok(None);
            };
            match self.regions[at].place(&asked) {
                Ok(number) => {
                    self.changed(at, resources(need))?;
                    return Ok(Some(number));
                }
                Err(reasons) => {
                    self.handed_back += 1;
                    back.insert(at, HandBack { count: 1, reasons });
                }
            }
        }
        Ok(None)
    }

    fn view(&self, at: usize, back: &BTreeMap<usize, HandBack>) -> RegionView {
        let mut view = RegionView::new(self.names[at].clone());
        view.sites = Arc::clone(&self.digests[at]);
        view.pending = self.told[at].pending;
        view.handed_back = back.get(&at).cloned();
        view
    }
}

/// No wishes at all.
static ANYWHERE: LazyLock<Placement> = LazyLock::new(Placement::default);

impl Packer for OneLevel {
    fn place(&mut self, pod: usize, need: &Amount) -> Option<usize> {
        let asked = Asked::new(pod, need).expect("a number makes a name");
        self.region.place(&asked).ok()
    }

    fn remove(&mut self, pod: usize, node: usize, _: &Amount) {
        self.region.remove(pod, node);
    }

    fn free(&self) -> Vec<Free> {
        self.region.free().into_iter().map(|(_, free)| free).collect()
    }
}

impl Packer for TwoLevel {
    fn place(&mut self, pod: usize, need: &Amount) -> Option<usize> {
        self.try_place(pod, need).expect("a number makes a name")
    }

    fn remove(&mut self, pod: usize, node: usize, _: &Amount) {
        let at = node % self.regions.len();
        self.regions[at].remove(pod, node);
        self.changed(at, Resources::ZERO).expect("names were good before");
    }

    fn free(&self) -> Vec<Free> {
        let mut all: Vec<(usize, Free)> = self.regions.iter().flat_map(Region::free).collect();
        all.sort_by_key(|(number, _)| *number);
        all.into_iter().map(|(_, free)| free).collect()
    }
}

impl Region {
    fn new(nodes: &[(usize, &TraceNode)], site: &SiteName) -> Result<Self> {
        let mut cluster = Cluster::default();
        let (mut numbers, mut gpus) = (BTreeMap::new(), BTreeMap::new());
        for (number, node) in nodes {
            let name = NodeName::new(format!("n{number:05}"))?;
            let count = u16::try_from(node.room.gpu_milli / 1000)?;
            let attributes = [("node.gpu_model".to_owned(), node.model.clone())];
            cluster.set_node(NodeView {
                name: name.clone(),
                site: site.clone(),
                attributes: if node.model.is_empty() { Attributes::new() } else { attributes.into() },
                taints: Vec::new(),
                capacity: resources(&node.room),
                gpus: count,
                limit: AllocationLimit::MAX,
                port_range: (0, 0),
                reachable: true,
                schedulable: true,
                point: None,
                micros_per_mb: 0,
            });
            numbers.insert(name, *number);
            gpus.insert(*number, count);
        }
        Ok(Self { cluster, numbers, gpus })
    }

    fn place(&mut self, asked: &Asked) -> Result<usize, Vec<skerry_types::Refusal>> {
        let demand = Demand {
            key: &asked.key,
            labels: &Labels::new(),
            priority: WorkloadSpec::DEFAULT_PRIORITY,
            spec: &asked.spec,
            placement: &ANYWHERE,
            existing: &[],
        };
        let mut answers = self.cluster.place(&demand, 1, &mut |_| asked.id.clone());
        let placed = answers.pop().expect("one answer for one instance")?;
        Ok(self.numbers[&placed.node])
    }

    fn remove(&mut self, pod: usize, number: usize) {
        let node = NodeName::new(format!("n{number:05}")).expect("a number makes a name");
        let id = id_of(pod).expect("a number makes a name");
        self.cluster.release(&node, &id).expect("what is removed was placed");
    }

    fn free(&self) -> Vec<(usize, Free)> {
        let one = |(name, number): (&NodeName, &usize)| {
            let free = self.cluster.free(name).unwrap_or_default();
            let gpus = self.cluster.free_gpus(name).collect();
            (*number, Free { cpu_milli: free.cpu.0, memory_mib: free.memory.0 >> 20, gpus })
        };
        self.numbers.iter().map(one).collect()
    }

    fn digest(&self, name: &str) -> Result<SiteDigest> {
        let attributes = Attributes::new();
        let rooms: Vec<(Resources, u32)> = self
            .numbers
            .keys()
            .map(|node| {
                let gpus = || self.cluster.free_gpus(node);
                let whole: u64 = gpus().filter(|milli| *milli == 1000).sum();
                let part = gpus().filter(|milli| *milli < 1000).max().unwrap_or_default();
                let mut free = self.cluster.free(node).unwrap_or_default();
                free.gpu = MilliGpu(whole + part);
                (free, AllocationLimit::MAX.get() - self.cluster.allocations(node).unwrap_or(0))
            })
            .collect();
        let inputs = rooms.iter().map(|(free, slots)| SketchInput {
            attributes: &attributes,
            taints: &[],
            free: *free,
            slots: *slots,
        });
        let nodes = u32::try_from(self.gpus.len())?;
        let (mut capacity, mut reserved) = (Resources::ZERO, Resources::ZERO);
        for node in self.numbers.keys() {
            let used = self.cluster.used(node).unwrap_or_default();
            capacity += used + self.cluster.free(node).unwrap_or_default();
            reserved += used;
        }
        Ok(SiteDigest {
            region: RegionName::new(name)?,
            spec: SiteSpec {
                name: SiteName::new(name)?,
                labels: Labels::new(),
                timezone: None,
                point: None,
                link: LinkClass::default(),
            },
            nodes,
            reachable: nodes,
            allocations: 0,
            running: 0,
            capacity,
            reserved,
            last_seen: WallTime(1),
            sketch: sketch(inputs),
        })
    }
}

impl Asked {
    fn new(pod: usize, need: &Amount) -> Result<Self> {
        let spec = instance(resources(need))?;
        let key = WorkloadKey { tenant: TenantName::default(), name: WorkloadName::new(format!("p{pod}"))? };
        Ok(Self { key, spec, id: id_of(pod)? })
    }
}

/// One container that needs this.
fn instance(need: Resources) -> Result<InstanceSpec> {
    let container = ContainerSpec {
        name: ContainerName::new("main")?,
        image: String::new(),
        digest: None,
        command: Vec::new(),
        args: Vec::new(),
        env: Vec::new(),
        resources: need,
        limits: Limits { cpu: None, memory: Bytes(1), pids: 1 },
        ports: Vec::new(),
        user: None,
        read_only: false,
        capabilities: Capabilities::default(),
        probes: Probes::default(),
        stop_signal: None,
    };
    let wait = std::time::Duration::from_secs(1);
    Ok(InstanceSpec {
        init: Vec::new(),
        containers: vec![container],
        restart: RestartPolicy { when: RestartWhen::Never, backoff: wait, max_backoff: wait },
        stop_grace: wait,
        stop_delay: std::time::Duration::ZERO,
        schedule: None,
        deadline: None,
        stop_after: None,
        exclusive: None,
    })
}

/// A service whose instances need this each.
pub(super) fn workload(name: &str, instances: u32, need: Resources) -> Result<WorkloadSpec> {
    Ok(WorkloadSpec {
        key: WorkloadKey { tenant: TenantName::default(), name: WorkloadName::new(name)? },
        labels: Labels::new(),
        kind: WorkloadKind::Service,
        instances,
        priority: WorkloadSpec::DEFAULT_PRIORITY,
        instance: Arc::new(instance(need)?),
        placement: Placement::default(),
        update: UpdatePolicy::default(),
        on_disconnect: OnDisconnect::default(),
        scale: None,
    })
}

fn id_of(pod: usize) -> Result<AllocationId> {
    Ok(AllocationId::new(format!("p{pod}-0-1"))?)
}

fn resources(amount: &Amount) -> Resources {
    Resources {
        cpu: MilliCpu(amount.cpu_milli),
        memory: Bytes(amount.memory_mib << 20),
        disk: Bytes(0),
        bandwidth: Bandwidth(0),
        gpu: MilliGpu(amount.gpu_milli),
    }
}
