//! The openb trace: nodes and pods of a production GPU cluster, as published with the FGD scheduler (Weng et al. 2023).

use std::path::Path;

use anyhow::{Context, Result, bail};

/// A node of the trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TraceNode {
    pub(crate) name: String,
    pub(crate) room: Amount,
    pub(crate) model: String,
}

/// A pod of the trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TracePod {
    pub(crate) need: Amount,
    /// How it is to be served: `LS` for those that wait for no one, `BE` for those that take what is left.
    pub(crate) class: String,
    /// Seconds from the start of the trace.
    pub(crate) created: u64,
    /// Seconds from the start of the trace.
    pub(crate) deleted: u64,
}

/// What a node has or a pod needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Amount {
    pub(crate) cpu_milli: u64,
    pub(crate) memory_mib: u64,
    /// Thousandths of a graphics processor: below 1000 a part of one, above it whole ones.
    pub(crate) gpu_milli: u64,
}

/// The whole trace.
#[derive(Debug, Clone)]
pub(crate) struct Trace {
    pub(crate) nodes: Vec<TraceNode>,
    /// By the time of their creation.
    pub(crate) pods: Vec<TracePod>,
}

impl Trace {
    /// Reads the two tables in `folder`.
    pub(crate) fn load(folder: &Path) -> Result<Self> {
        let nodes = table(&folder.join("openb_node_list_all_node.csv"), |row| {
            let gpus: u64 = row.number("gpu")?;
            let room = Amount {
                cpu_milli: row.number("cpu_milli")?,
                memory_mib: row.number("memory_mib")?,
                gpu_milli: gpus * 1000,
            };
            Ok(TraceNode { name: row.text("sn")?.to_owned(), room, model: row.text("model")?.to_lowercase() })
        })?;
        let mut pods = table(&folder.join("openb_pod_list_default.csv"), |row| {
            let (gpus, share) = (row.number("num_gpu")?, row.number("gpu_milli")?);
            if gpus > 1 && share != 1000 {
                bail!("a pod wants parts of {gpus} graphics processors, which no pod of the trace does");
            }
            let need = Amount {
                cpu_milli: row.number("cpu_milli")?,
                memory_mib: row.number("memory_mib")?,
                gpu_milli: gpus * share,
            };
            Ok(TracePod {
                need,
                class: row.text("qos")?.to_owned(),
                created: row.number("creation_time")?,
                deleted: row.number("deletion_time")?,
            })
        })?;
        pods.sort_by_key(|pod| pod.created);
        Ok(Self { nodes, pods })
    }
}

/// A row of a table, with its header.
struct Row<'a> {
    header: &'a [&'a str],
    fields: Vec<&'a str>,
}

impl<'a> Row<'a> {
    fn text(&self, name: &str) -> Result<&'a str> {
        let at = self.header.iter().position(|column| *column == name);
        at.and_then(|at| self.fields.get(at)).copied().with_context(|| format!("no column '{name}'"))
    }

    /// An empty field is zero.
    fn number(&self, name: &str) -> Result<u64> {
        let text = self.text(name)?;
        if text.is_empty() {
            return Ok(0);
        }
        let whole = text.split_once('.').map_or(text, |(whole, _)| whole);
        whole.parse().with_context(|| format!("'{text}' in column '{name}'"))
    }
}

/// No field of these tables is quoted.
fn table<T>(path: &Path, read: impl Fn(&Row<'_>) -> Result<T>) -> Result<Vec<T>> {
    let text = std::fs::read_to_string(path).with_context(|| {
        format!("cannot read {}: name the trace's folder with --openb DIR", path.display())
    })?;
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
    lines
        .map(|line| read(&Row { header: &header, fields: line.split(',').collect() }))
        .collect::<Result<Vec<T>>>()
        .with_context(|| format!("{} is not the trace's table", path.display()))
}
