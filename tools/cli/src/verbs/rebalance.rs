//! `rebalance`: moves that would free nodes, as a proposal.

use serde_json::json;
use skerry_api::v1;

use crate::args::{Output, RebalanceArgs};
use crate::failure::Failure;
use crate::master::Master;
use crate::print::table::{Cell, Table};
use crate::print::{document, has_color, out, say};
use crate::rows::qualified;

/// `skerry rebalance`.
pub(crate) async fn run(args: RebalanceArgs) -> Result<(), Failure> {
    if !args.plan {
        return Err(Failure::Usage(
            "moves are only proposed: write --plan to see them, then drain the nodes that you want free"
                .to_owned(),
        ));
    }
    let master = Master::open(&args.server)?;
    let found: v1::RebalanceResponse =
        master.call(|mut client| async move { client.rebalance(v1::RebalanceRequest {}).await }).await?;
    match args.output.output {
        Output::Json => out(&document::json(&json!(found))?)?,
        Output::Yaml => out(&document::yaml(&json!(found))?)?,
        Output::Name => {
            let names = found.moves.iter().flat_map(|one| ["allocation/", &one.allocation, "\n"]);
            out(&names.collect::<String>())?;
        }
        Output::Table | Output::Wide => {
            if !found.moves.is_empty() {
                out(&table(&found.moves, has_color()))?;
            }
            say(&verdict(&found));
        }
    }
    Ok(())
}

fn table(moves: &[v1::Move], color: bool) -> String {
    let row = |one: &v1::Move| {
        vec![
            Cell::new(qualified(&one.tenant, &one.workload)),
            Cell::new(one.instance.to_string()),
            Cell::new(&one.from),
            Cell::new(&one.to),
            Cell::new(&one.region),
            Cell::new(&one.why),
        ]
    };
    let rows: Vec<Vec<Cell>> = moves.iter().map(row).collect();
    Table::new(vec!["WORKLOAD", "INSTANCE", "FROM", "TO", "REGION", "WHY"], color).whole(&rows)
}

/// What it comes to.
fn verdict(found: &v1::RebalanceResponse) -> String {
    let moves = found.moves.len();
    let (s, freed) = (if moves == 1 { "" } else { "s" }, found.freed.join(", "));
    match (moves, found.freed.len()) {
        (0, _) if found.why_none.is_empty() => {
            "no move would free a node: things are as tight as they get".to_owned()
        }
        (0, _) => format!("no move would free a node:\n  - {}", found.why_none.join("\n  - ")),
        (_, 0) => format!("{moves} move{s} would help; nothing was moved"),
        (_, 1) => format!("{moves} move{s} would free node {freed}; nothing was moved"),
        (_, nodes) => format!("{moves} move{s} would free {nodes} nodes: {freed}; nothing was moved"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_are_a_table_and_a_verdict() {
        let one = v1::Move {
            tenant: "acme".to_owned(),
            workload: "web".to_owned(),
            instance: 2,
            from: "n3".to_owned(),
            to: "n1".to_owned(),
            why: "n3 would be empty".to_owned(),
            ..v1::Move::default()
        };
        let expect = "\
WORKLOAD   INSTANCE   FROM   TO   REGION   WHY
acme/web   2          n3     n1   -        n3 would be empty
";
        assert_eq!(table(std::slice::from_ref(&one), false), expect);
        let check = |moves: usize, freed: &[&str], expect: &str| {
            let freed = freed.iter().map(|name| (*name).to_owned()).collect();
            let found =
                v1::RebalanceResponse { moves: vec![one.clone(); moves], freed, why_none: Vec::new() };
            assert_eq!(verdict(&found), expect);
        };
        check(1, &["n3"], "1 move would free node n3; nothing was moved");
        check(2, &["n3", "n4"], "2 moves would free 2 nodes: n3, n4; nothing was moved");
        check(0, &[], "no move would free a node: things are as tight as they get");
        let why_none = vec!["cordoned or not heard from: n4".to_owned(), "n1 is full".to_owned()];
        assert_eq!(
            verdict(&v1::RebalanceResponse { why_none, ..v1::RebalanceResponse::default() }),
            "no move would free a node:\n  - cordoned or not heard from: n4\n  - n1 is full"
        );
    }
}
