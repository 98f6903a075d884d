//! `scale`: another number of instances.

use serde_json::json;
use skerry_api::v1;

use super::workload_of;
use crate::args::ScaleArgs;
use crate::failure::Failure;
use crate::master::Master;
use crate::print::report;
use crate::rows::qualified;

/// `skerry scale`.
pub(crate) async fn run(args: ScaleArgs) -> Result<(), Failure> {
    let (tenant, name) = workload_of(&args.tenant, &args.workload)?;
    let shown = format!("workload/{}", qualified(&tenant, &name));
    let instances = args.instances;
    let master = Master::open(&args.server)?;
    let request = v1::ScaleRequest { tenant: tenant.clone(), name: name.clone(), instances };
    let answer = master.call(|mut client| async move { client.scale(request).await }).await?;
    let text = text(&shown, instances, &answer);
    report::one(args.output.output, &shown, &text, || {
        json!({
            "tenant": tenant,
            "name": name,
            "instances": instances,
            "before": answer.before,
            "generation": answer.generation,
        })
    })
}

fn text(shown: &str, instances: u32, answer: &v1::ScaleResponse) -> String {
    let v1::ScaleResponse { generation, before } = *answer;
    if before == instances {
        return format!("{shown} has {instances} instances already\n");
    }
    format!("{shown} scaled from {before} to {instances} instances (generation {generation})\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_from_where_to_where() {
        let answer = v1::ScaleResponse { generation: 4, before: 3 };
        assert_eq!(
            text("workload/web", 5, &answer),
            "workload/web scaled from 3 to 5 instances (generation 4)\n"
        );
        assert_eq!(text("workload/web", 3, &answer), "workload/web has 3 instances already\n");
    }
}
