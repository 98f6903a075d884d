//! What allocations use, as their nodes say.

use skerry_types::{AllocationId, AllocationLoad};

use crate::state::RegionState;

impl RegionState {
    pub(crate) fn take_load(&mut self, load: AllocationLoad) {
        if self.allocations.contains_key(&load.id) {
            self.life.loads.insert(load.id.clone(), load);
        }
    }

    /// Forgets what is only known of allocations that are there.
    pub(crate) fn forget_life_of(&mut self, id: &AllocationId) {
        self.life.loads.remove(id);
    }
}
