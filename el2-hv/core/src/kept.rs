//! A shelf for what outlives VMs: one thing for each name, the oldest of which makes way for a new one.

use hv_abi::handle::Label;

/// `N` places.
#[derive(Debug)]
pub struct Shelf<T, const N: usize> {
    places: [Place<T>; N],
    /// Counts what was put.
    time: u32,
}

/// A place. Nothing was ever put to one without a name.
#[derive(Debug)]
pub struct Place<T> {
    name: Option<Label>,
    since: u32,
    thing: T,
}

impl<T> Place<T> {
    /// An empty place.
    pub const fn new(nothing: T) -> Self {
        Self { name: None, since: 0, thing: nothing }
    }
}

impl<T, const N: usize> Shelf<T, N> {
    /// A shelf of empty places.
    pub const fn new(places: [Place<T>; N]) -> Self {
        Self { places, time: 0 }
    }

    /// What is kept under a name.
    pub fn get(&self, name: Label) -> Option<&T> {
        self.places.iter().find(|place| place.name == Some(name)).map(|place| &place.thing)
    }

    /// The place for a name, which is the newest now: its own, or that of the oldest, where `make_way` empties what
    /// others have left. `None` on a shelf without places.
    pub fn put(&mut self, name: Label, make_way: impl FnOnce(&mut T)) -> Option<&mut T> {
        self.time = self.time.saturating_add(1);
        let own = self.places.iter().position(|place| place.name == Some(name));
        // Of places without a name none was ever put: they come first.
        let oldest = || (0..N).min_by_key(|place| self.places[*place].since);
        let place = &mut self.places[own.or_else(oldest)?];
        if place.name != Some(name) {
            make_way(&mut place.thing);
        }
        (place.name, place.since) = (Some(name), self.time);
        Some(&mut place.thing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn name(text: &str) -> Label {
        Label::new(text).unwrap()
    }

    #[test]
    fn a_name_has_its_last_thing_and_the_oldest_makes_way() {
        let mut shelf = Shelf::new([const { Place::new(0) }; 3]);
        let mut gone = Vec::new();
        let mut put = |shelf: &mut Shelf<u32, 3>, text, thing| {
            let place = shelf.put(name(text), |old| gone.push(core::mem::take(old)));
            *place.expect("a place") = thing;
        };
        for (text, thing) in [("a", 1), ("b", 2), ("c", 3), ("a", 10), ("d", 4)] {
            put(&mut shelf, text, thing);
        }
        let kept = ["a", "b", "c", "d"].map(|text| shelf.get(name(text)).copied());
        assert_eq!(kept, [Some(10), None, Some(3), Some(4)], "b was the oldest");
        put(&mut shelf, "e", 5);
        put(&mut shelf, "f", 6);
        assert_eq!(["a", "d", "e", "f"].map(|text| shelf.get(name(text)).copied()), [None, Some(4), Some(5), Some(6)]);
        assert_eq!(gone, [0, 0, 0, 2, 3, 10]);
    }
}
