//! How few nodes could hold some pods at best: a linear program that may split pods.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use good_lp::{Expression, ProblemVariables, Solution, SolverModel, constraint, microlp, variable};

use super::trace::{Amount, TraceNode};

/// The fewest nodes of `nodes` that could hold `pods`, if pods could be cut into pieces that lie on different nodes and all
/// nodes of a kind were one: no placement does with less. Nodes that are the same are one kind, pods that need the same are one
/// shape. For each kind a number of nodes in use, for each kind and shape how many lie there; every resource of a kind holds
/// what lies there. The number of nodes is a whole one.
pub(crate) fn fewest_nodes<'a>(nodes: &[TraceNode], pods: impl Iterator<Item = &'a Amount>) -> Result<f64> {
    let kinds = counted(nodes.iter().map(|node| node.room));
    let shapes = counted(pods.copied());
    let mut variables = ProblemVariables::new();
    let used: Vec<_> = kinds.iter().map(|(_, count)| variables.add(variable().min(0).max(*count))).collect();
    let mut loads = vec![[Expression::from(0), Expression::from(0), Expression::from(0)]; kinds.len()];
    let mut placed = vec![Expression::from(0); shapes.len()];
    for (shape, (need, _)) in shapes.iter().enumerate() {
        let fitting = kinds.iter().enumerate().filter(|(_, (room, _))| holds(room, need));
        for (kind, _) in fitting {
            let part = variables.add(variable().min(0));
            placed[shape] += part;
            for (load, amount) in loads[kind].iter_mut().zip(parts(need)) {
                *load += amount * part;
            }
        }
    }
    let total: Expression = used.iter().sum();
    let mut problem = variables.minimise(total.clone()).using(microlp);
    for (kind, (room, _)) in kinds.iter().enumerate() {
        for (load, amount) in loads[kind].iter().zip(parts(room)) {
            problem = problem.with(constraint!(load.clone() <= amount * used[kind]));
        }
    }
    for (sum, (_, count)) in placed.iter().zip(&shapes) {
        problem = problem.with(constraint!(sum.clone() == *count));
    }
    let solution = problem.solve().context("the linear program of the lower bound")?;
    // What the solver calls whole may be off by its own tolerance.
    Ok((solution.eval(&total) - 1e-6).ceil())
}

/// Each different one and how often it is there.
fn counted(amounts: impl Iterator<Item = Amount>) -> Vec<(Amount, f64)> {
    let mut counts: BTreeMap<Amount, f64> = BTreeMap::new();
    for amount in amounts {
        *counts.entry(amount).or_default() += 1.0;
    }
    counts.into_iter().collect()
}

fn holds(room: &Amount, need: &Amount) -> bool {
    room.cpu_milli >= need.cpu_milli && room.memory_mib >= need.memory_mib && room.gpu_milli >= need.gpu_milli
}

/// Cores, GiB and graphics processors: numbers of about one size, as solvers like them.
fn parts(amount: &Amount) -> [f64; 3] {
    let scaled = |amount: u64, unit: f64| u32::try_from(amount).map_or(f64::MAX, f64::from) / unit;
    [scaled(amount.cpu_milli, 1000.0), scaled(amount.memory_mib, 1024.0), scaled(amount.gpu_milli, 1000.0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_that_of_the_scarcest_resource() {
        let room = Amount { cpu_milli: 8000, memory_mib: 8192, gpu_milli: 0 };
        let big = Amount { gpu_milli: 2000, ..room };
        let node = |room| TraceNode { name: String::new(), room, model: String::new() };
        let nodes = [node(room), node(room), node(big), node(big)];
        let check = |pods: &[Amount], expect: f64| {
            let found = fewest_nodes(&nodes, pods.iter()).unwrap();
            assert!((found - expect).abs() < 1e-6, "{found}");
        };
        let cpu = Amount { cpu_milli: 4000, memory_mib: 1024, gpu_milli: 0 };
        let gpu = Amount { cpu_milli: 1000, memory_mib: 1024, gpu_milli: 500 };
        check(&[cpu; 3], 2.0);
        check(&[gpu; 8], 2.0);
        check(&[], 0.0);
        assert!(fewest_nodes(&nodes, [gpu; 9].iter()).is_err(), "there are four graphics processors");
    }
}
