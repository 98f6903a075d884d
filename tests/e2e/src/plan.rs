/// What a test's region is made of.
#[derive(Debug, Clone, Default)]
pub struct Plan<'p> {
    /// Name and site of each node of the region itself.
    pub nodes: &'p [(&'p str, &'p str)],
    /// Regions below it, each after the one above it.
    pub below: &'p [Below<'p>],
    /// Images that are pushed to the registry; with none, there is no registry.
    pub images: &'p [&'p str],
    /// Flags of every start of the master.
    pub master_flags: &'p [&'p str],
    /// Flags of every start of each agent.
    pub agent_flags: &'p [&'p str],
    /// Whether nodes are left for the test to join and start.
    pub unjoined: bool,
}

/// A region below another.
#[derive(Debug, Clone)]
pub struct Below<'p> {
    /// Its name, at most nine lower-case letters and digits.
    pub region: &'p str,
    /// The one above it; `None` for the plan's own.
    pub parent: Option<&'p str>,
    /// Name and site of each node.
    pub nodes: &'p [(&'p str, &'p str)],
}
