//! Sets of items by id: `Few`, the items of one value, which are often one; and `IdSet`, what a filter lets through, which may be all but some.

use roaring::RoaringTreemap;

/// The items of one value. A field of many values, such as a time, has one item each, for which a bitmap would be large.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Few {
    One(u64),
    Many(Box<RoaringTreemap>),
}

impl Few {
    pub(super) fn insert(&mut self, id: u64) {
        match self {
            Self::One(one) if *one == id => {}
            Self::One(one) => *self = Self::Many(Box::new([*one, id].into_iter().collect())),
            Self::Many(ids) => drop(ids.insert(id)),
        }
    }

    /// Takes an item out; whether no item is left.
    pub(super) fn remove(&mut self, id: u64) -> bool {
        match self {
            Self::One(one) => *one == id,
            Self::Many(ids) => {
                ids.remove(id);
                ids.is_empty()
            }
        }
    }

    pub(super) fn len(&self) -> u64 {
        match self {
            Self::One(_) => 1,
            Self::Many(ids) => ids.len(),
        }
    }
}

/// The items of several values.
pub(super) fn union<'a>(values: impl Iterator<Item = &'a Few>) -> RoaringTreemap {
    let (mut single, mut all) = (Vec::new(), RoaringTreemap::new());
    for few in values {
        match few {
            Few::One(id) => single.push(*id),
            Few::Many(ids) => all |= &**ids,
        }
    }
    // In order they go in without a search for the place of each.
    single.sort_unstable();
    single.dedup();
    let single = RoaringTreemap::from_sorted_iter(single).unwrap_or_default();
    all | single
}

/// Some items, or all but some: of which items there are in all, a filter knows nothing.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum IdSet {
    Of(RoaringTreemap),
    AllBut(RoaringTreemap),
}

impl IdSet {
    pub(super) fn all() -> Self {
        Self::AllBut(RoaringTreemap::new())
    }

    pub(super) fn none() -> Self {
        Self::Of(RoaringTreemap::new())
    }

    pub(super) fn not(self) -> Self {
        match self {
            Self::Of(ids) => Self::AllBut(ids),
            Self::AllBut(ids) => Self::Of(ids),
        }
    }

    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Of(a), Self::Of(b)) => Self::Of(a & b),
            (Self::Of(a), Self::AllBut(b)) | (Self::AllBut(b), Self::Of(a)) => Self::Of(a - b),
            (Self::AllBut(a), Self::AllBut(b)) => Self::AllBut(a | b),
        }
    }

    pub(super) fn or(self, other: Self) -> Self {
        self.not().and(other.not()).not()
    }
}
