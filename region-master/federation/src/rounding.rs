//! Amounts rounded down to fewer and fewer leading bits, so that nodes of about the same room count as one.

use skerry_types::{Bandwidth, Bytes, MilliCpu, MilliGpu, Resources};

/// How many leading bits of an amount are kept, finest first. With `b` bits an octave has 2^(b-1) steps, and less than one part
/// in 2^(b-1)+1 is lost: nothing at 64, a fifth at 3 (quarter octaves), a half at 1 (octaves).
pub(crate) const STEPS: [u32; 8] = [64, 7, 6, 5, 4, 3, 2, 1];

/// What a node has free: resources, and places for allocations.
pub(crate) type Room = (Resources, u32);

/// The largest amount of `bits` leading bits that is not above `amount`.
pub(crate) fn down(amount: u64, bits: u32) -> u64 {
    let dropped = (u64::BITS - amount.leading_zeros()).saturating_sub(bits);
    (amount >> dropped) << dropped
}

/// A room with every amount rounded down; of graphics processors the whole ones and the part apart.
pub(crate) fn room_down((free, slots): Room, bits: u32) -> Room {
    let free = Resources {
        cpu: MilliCpu(down(free.cpu.0, bits)),
        memory: Bytes(down(free.memory.0, bits)),
        disk: Bytes(down(free.disk.0, bits)),
        bandwidth: Bandwidth(down(free.bandwidth.0, bits)),
        gpu: MilliGpu(down(free.gpu.0 / 1000, bits) * 1000 + down(free.gpu.0 % 1000, bits)),
    };
    let slots =
        u32::try_from(down(u64::from(slots), bits)).expect("rounding down keeps 32 bits within 32 bits");
    (free, slots)
}

/// What both rooms have.
pub(crate) fn least((a, a_slots): Room, (b, b_slots): Room) -> Room {
    let free = Resources {
        cpu: a.cpu.min(b.cpu),
        memory: a.memory.min(b.memory),
        disk: a.disk.min(b.disk),
        bandwidth: a.bandwidth.min(b.bandwidth),
        gpu: a.gpu.min(b.gpu),
    };
    (free, a_slots.min(b_slots))
}

/// A room as an ordered key, so that alike ones lie side by side.
pub(crate) fn order((free, slots): Room) -> [u64; 6] {
    [free.gpu.0, free.cpu.0, free.memory.0, free.disk.0, free.bandwidth.0, u64::from(slots)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn leading_bits_are_kept() {
        let check =
            |amount: u64, bits: u32, kept: u64| assert_eq!(down(amount, bits), kept, "{amount} {bits}");
        check(0, 1, 0);
        check(1, 1, 1);
        check(3000, 64, 3000);
        check(3000, 7, 2976);
        check(3000, 3, 2560);
        check(3000, 1, 2048);
        check(u64::MAX, 1, 1 << 63);
        check(u64::MAX, 64, u64::MAX);
    }

    proptest! {
        #[test]
        fn less_than_the_stated_part_is_lost(amount: u64, step in 0..STEPS.len()) {
            let bits = STEPS[step];
            let kept = down(amount, bits);
            prop_assert!(kept <= amount);
            let parts = (1u128 << (bits.min(100) - 1)) + 1;
            prop_assert!(amount == 0 || u128::from(amount - kept) * parts < u128::from(amount), "{}", kept);
            prop_assert_eq!(down(kept, bits), kept);
        }
    }
}
