//! Sets of item ids: `Few`, the items with one value, of which there is often only one; and `IdSet`, the result of a filter, which may be
//! all items but some.

use roaring::RoaringTreemap;

/// The items with one value. In a field of many distinct values, such as a time, each value has one item, for which a bitmap would be
/// wasteful.
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

    /// Removes an item. Returns whether no item is left.
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

/// The union of the items of several values.
pub(super) fn union<'a>(values: impl Iterator<Item = &'a Few>) -> RoaringTreemap {
    let (mut single, mut all) = (Vec::new(), RoaringTreemap::new());
    for few in values {
        match few {
            Few::One(id) => single.push(*id),
            Few::Many(ids) => all |= &**ids,
        }
    }
    // Inserting them in order avoids a search for each position.
    single.sort_unstable();
    single.dedup();
    let single = RoaringTreemap::from_sorted_iter(single).unwrap_or_default();
    all | single
}

/// Some items, or all but some. A filter does not know which items there are, so a negation stays a complement.
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

    /// These items, except that of `ids` those of `other` are taken.
    pub(crate) fn replace(self, ids: RoaringTreemap, other: Self) -> Self {
        let others = Self::Of(ids.clone()).and(other);
        self.and(Self::AllBut(ids)).or(others)
    }
}
