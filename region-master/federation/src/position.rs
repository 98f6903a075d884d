//! How far places are apart, when one of them is asked about thousands of times.

use skerry_types::Point;

/// A place on the unit sphere, by which a distance takes a root and an arc sine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Position([f64; 3]);

impl Position {
    /// The mean radius of the earth, as in [`Point::distance_km`].
    const RADIUS_KM: f64 = 6_371.0;

    pub(crate) fn of(point: Point) -> Self {
        let radians = |millionths: i32| (f64::from(millionths) / 1e6).to_radians();
        let (latitude, longitude) = (radians(point.latitude), radians(point.longitude));
        let (sin, cos) = latitude.sin_cos();
        Self([cos * longitude.cos(), cos * longitude.sin(), sin])
    }

    /// Whole kilometres along the surface: what [`Point::distance_km`] says, by the chord between the two.
    pub(crate) fn distance_km(&self, other: &Self) -> u64 {
        let squares = self.0.iter().zip(&other.0).map(|(a, b)| (a - b) * (a - b));
        let half_chord = squares.sum::<f64>().sqrt() / 2.0;
        let km = 2.0 * Self::RADIUS_KM * half_chord.min(1.0).asin();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 20,016")]
        let whole = km.round() as u64;
        whole
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn distances_are_those_of_points(ends in proptest::array::uniform4(-90_000_000i32..=90_000_000)) {
            let [latitude, longitude, to_latitude, to_longitude] = ends;
            let from = Point { latitude, longitude: 2 * longitude };
            let to = Point { latitude: to_latitude, longitude: 2 * to_longitude };
            let found = Position::of(from).distance_km(&Position::of(to));
            // Where the two are half a kilometre from a whole number, either may be said.
            prop_assert!(found.abs_diff(u64::from(from.distance_km(&to))) <= 1);
        }
    }

    #[test]
    fn near_places_are_told_apart() {
        let km = |from: &str, to: &str| {
            let [from, to] = [from, to].map(|text| text.parse().map(Position::of).expect("a place"));
            from.distance_km(&to)
        };
        assert_eq!(km("59.91,10.75", "59.91,10.75"), 0);
        assert_eq!(km("59.91,10.75", "59.92,10.75"), 1);
        assert_eq!(km("0,0", "0,180"), 20_015);
    }
}
