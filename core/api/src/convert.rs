//! From the model to what the API shows.

use skerry_types as types;

use crate::v1;

/// Amounts as the API shows them.
pub fn resources(amounts: &types::Resources) -> v1::Resources {
    v1::Resources { cpu_milli: amounts.cpu.0, memory_bytes: amounts.memory.0, disk_bytes: amounts.disk.0 }
}

/// An end as the API shows it.
pub fn exit(exit: &types::Exit) -> v1::Exit {
    let kind = match exit.kind {
        types::ExitKind::Code(code) => v1::exit::Kind::Code(code),
        types::ExitKind::Signal(signal) => v1::exit::Kind::Signal(signal),
        types::ExitKind::Unknown => v1::exit::Kind::Unknown(true),
    };
    v1::Exit {
        kind: Some(kind),
        out_of_memory: exit.out_of_memory,
        at_ms: exit.at.0,
        ran_for_ms: u64::try_from(exit.ran_for.as_millis()).unwrap_or(u64::MAX),
    }
}
