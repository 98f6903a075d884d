//! Layers of images, told when they changed.

use skerry_types::{LayerId, NodeLayers};
use skerry_wire::{ObservedRow, TableId};

use super::bench::*;
use crate::*;

#[test]
fn the_same_layers_are_told_once() {
    let mut bench = Bench::running(&web());
    bench.link();
    bench.told();
    let layers = |numbers: &[u8]| NodeLayers::new(numbers.iter().map(|number| LayerId::of(&[*number; 32])));
    let mut check = |numbers: &[u8], is_news: bool| {
        bench.feed(Input::Layers(layers(numbers)));
        let rows = bench.told().into_iter().filter(|(key, _)| key.table == TableId::LAYERS);
        let rows: Vec<_> = rows.map(|(_, row)| row).collect();
        let expect: &[_] = if is_news { &[Some(ObservedRow::Layers(layers(numbers)))] } else { &[] };
        assert_eq!(rows, expect, "{numbers:?}");
    };
    check(&[], true);
    check(&[1, 2], true);
    check(&[2, 1, 1], false);
    check(&[2], true);
}
