//! What apply and delete answer and do.

use std::sync::Arc;

use skerry_types::Generation;

use super::bench::*;
use crate::*;

fn answer(generation: u64, how: AppliedHow) -> Applied {
    Applied { generation: Generation(generation), how }
}

#[test]
fn an_apply_says_what_it_did() {
    let mut bench = Bench::with_nodes(1);
    let web = spec("web", 2);
    assert_eq!(bench.apply(&web), answer(1, AppliedHow::Created));
    assert_eq!(bench.apply(&web), answer(1, AppliedHow::Unchanged));
    assert_eq!(bench.apply(&changed(&web, "x")), answer(2, AppliedHow::Changed));
    assert_eq!(bench.apply(&changed(&web, "x")), answer(2, AppliedHow::Unchanged));
    assert_eq!(bench.apply(&web), answer(3, AppliedHow::Changed));
}

#[test]
fn a_dry_run_answers_alike_and_changes_nothing() {
    let mut bench = Bench::with_nodes(1);
    let web = spec("web", 2);
    let mut dry = |spec: &WorkloadSpecRef, want: Applied| {
        let disk = bench.disk.clone();
        let reply = bench.call(ApiCall::Apply { spec: Arc::clone(spec), dry_run: true });
        assert!(matches!(reply, Ok(ApiReply::Applied(applied)) if applied == want), "{want:?}");
        assert_eq!(bench.disk, disk);
        assert!(bench.placed().is_empty());
    };
    dry(&Arc::new(web), answer(1, AppliedHow::Created));
    let mut bench = Bench::with_nodes(1);
    bench.apply(&spec("web", 1));
    let disk = bench.disk.clone();
    let other = Arc::new(changed(&spec("web", 1), "x"));
    let reply = bench.call(ApiCall::Apply { spec: other, dry_run: true });
    assert!(matches!(reply, Ok(ApiReply::Applied(applied)) if applied == answer(2, AppliedHow::Changed)));
    assert_eq!(bench.disk, disk);
}

type WorkloadSpecRef = Arc<skerry_types::WorkloadSpec>;

#[test]
fn a_delete_stops_all_and_then_forgets() {
    let mut bench = Bench::with_nodes(2);
    bench.apply(&spec("web", 3));
    bench.cut("n2");
    let reply = bench.call(ApiCall::Delete(key("web")));
    assert!(matches!(reply, Ok(ApiReply::Removed(3))), "{reply:?}");
    assert!(bench.placed().is_empty());
    let view = bench.workload("web").expect("still there: a node is away");
    assert!(view.deleting);
    let again = bench.call(ApiCall::Apply { spec: Arc::new(spec("web", 3)), dry_run: false });
    assert!(matches!(again, Err(ApiError::Deleting { .. })), "{again:?}");
    let reply = bench.call(ApiCall::Delete(key("web")));
    assert!(matches!(reply, Ok(ApiReply::Removed(1))), "asked again, it is the same: {reply:?}");
    bench.connect("n2");
    assert!(bench.workload("web").is_none());
    assert!(bench.state.allocations.is_empty());
    for table in ["workload", "allocation", "tombstone"] {
        assert!(bench.disk.keys().all(|(name, _)| name != table), "{table} rows are left");
    }
    assert_eq!(bench.apply(&spec("web", 1)), answer(1, AppliedHow::Created));
}

#[test]
fn what_is_not_there_is_not_found() {
    let mut bench = Bench::new();
    let check = |reply: Result<ApiReply, ApiError>, says: &str| {
        let error = reply.expect_err("an error");
        assert_eq!(error.to_string(), says);
    };
    check(bench.call(ApiCall::Delete(key("web"))), "there is no workload 'web'");
    check(bench.call(ApiCall::RemoveNode(node_name("n1"))), "there is no node 'n1'");
    check(bench.call(ApiCall::RevokeToken("abc".parse().unwrap())), "there is no join token 'abc'");
}

#[test]
fn no_answer_leaves_before_it_is_on_disk() {
    let mut bench = Bench::with_nodes(1);
    bench.full = true;
    let mut check = |call: ApiCall| {
        let id = bench.call_id();
        bench.feed(Input::Call(id, call.clone()));
        assert!(bench.replies.is_empty(), "{call:?}");
        assert!(bench.sent.is_empty(), "{call:?}");
    };
    check(ApiCall::Apply { spec: Arc::new(spec("web", 2)), dry_run: false });
    check(ApiCall::Apply { spec: Arc::new(spec("web", 2)), dry_run: false });
    check(ApiCall::Delete(key("web")));
    check(ApiCall::Workloads(Filter::default()));
    bench.full = false;
    bench.drain();
    assert_eq!(bench.replies.len(), 4);
}

#[test]
fn an_apply_of_many_instances_is_made_of_small_batches() {
    let mut bench = Bench::with_nodes(3);
    bench.apply(&small(spec("web", 600)));
    assert_eq!(bench.placed().len(), 600);
    bench.apply(&small(spec("web", 0)));
    assert!(bench.state.allocations.is_empty());
    bench.apply(&small(spec("web", 300)));
    bench.call(ApiCall::Delete(key("web"))).expect("a delete");
    assert!(bench.workload("web").is_none());
}
