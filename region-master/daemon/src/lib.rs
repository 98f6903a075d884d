//! The master: links, API, store and CA of one region around the brain in `skerry-region-state`.

pub mod ca;
