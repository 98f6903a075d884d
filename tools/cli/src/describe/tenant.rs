//! All about a tenant.

use skerry_api::v1;

use super::Setting;
use crate::print::sheet::Sheet;
use crate::print::table::{Cell, Tone};
use crate::rows::{Row as _, running_text, tenant_lines, workload_state};

/// The text of `describe tenant`.
pub(super) fn text(
    tenant: &v1::Tenant,
    children: &[v1::Tenant],
    workloads: &[v1::Workload],
    setting: Setting,
) -> String {
    let mut sheet = Sheet::new(&format!("tenant/{}", tenant.name()));
    sheet
        .field("Part of", &tenant.parent)
        .field("Weight", tenant.weight.to_string())
        .field("Asked in region", &tenant.region);
    let names: Vec<&str> = children.iter().map(|child| child.name.as_str()).collect();
    sheet.field("Its parts", names.join(", "));
    add_quota(&mut sheet, tenant, setting);
    add_workloads(&mut sheet, workloads, setting);
    sheet.finish()
}

/// What it may have and has. What this region holds of the limit it may give out without asking the one above.
fn add_quota(sheet: &mut Sheet, tenant: &v1::Tenant, setting: Setting) {
    let row = |line: &crate::rows::TenantLine| {
        let tone =
            if line.limit.is_some_and(|limit| line.used > limit) { Tone::Warning } else { Tone::Plain };
        vec![
            Cell::new(line.what),
            Cell::new(line.shown(line.guarantee)),
            Cell::new(line.shown(line.limit)),
            Cell::toned(line.shown(Some(line.used)), tone),
            Cell::new(line.shown(line.held)),
        ]
    };
    let rows: Vec<Vec<Cell>> = tenant_lines(tenant).iter().map(row).collect();
    sheet.section("Resources");
    sheet.table(&["RESOURCE", "GUARANTEED", "LIMIT", "RESERVED", "HELD HERE"], &rows, setting.color);
}

fn add_workloads(sheet: &mut Sheet, workloads: &[v1::Workload], setting: Setting) {
    let row = |workload: &v1::Workload| {
        let (state, tone) = workload_state(workload);
        vec![
            Cell::new(&workload.name),
            Cell::new(&workload.kind),
            Cell::toned(state, tone),
            Cell::new(running_text(workload)),
        ]
    };
    let rows: Vec<Vec<Cell>> = workloads.iter().map(row).collect();
    sheet.section("Workloads").table(&["NAME", "KIND", "STATE", "RUNNING"], &rows, setting.color);
}
