//! Level 1 of placement: which region gets how many instances, what a region tells of its room, and what tenants may have.
