//! Real processes, real containers and real faults. One file per topic, and most often one region per file: laying the ground
//! costs more than most checks.

mod answers;
mod api;
mod chaos;
mod clocks;
mod crashes;
mod cut;
mod failing;
mod happy;
mod images;
mod join;
mod leases;
mod life;
mod placement;
mod refusals;
mod scale;
mod schedules;
mod tree;
mod waves;
