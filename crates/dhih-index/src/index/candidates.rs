//! The rows of each component that a search examines, and the order of the components, with the state that searches of an index share.
//! `scope.rs` carries out the searches.

use std::cmp::Reverse;
use std::sync::{Arc, OnceLock};

use roaring::RoaringBitmap;

use crate::chosen_codes::{COPIED_SHARE, ChosenCodes};
use crate::codes::bits::bytes_per_code;
use crate::error::Result;
use crate::index::component::Component;
use crate::search::scratch::ScratchPool;
use crate::store::segment::Segment;

/// The state that the searches of an index share. Clones of an index share the memory, too.
///
/// An index that was searched must not be changed in place. `IndexWriter` changes an index of its own, which it never searches, and
/// hands out clones of it.
#[derive(Debug, Default)]
pub(crate) struct SearchContext {
    pub(crate) scratch: Arc<ScratchPool>,
    /// The candidates of a search among all items; known from the first search on.
    all: OnceLock<Box<[Candidates]>>,
}

impl SearchContext {
    /// The candidates of a search among all items of these components, which must be the same in each call.
    pub(crate) fn candidates(&self, components: &[Component]) -> &[Candidates] {
        self.all.get_or_init(|| Candidates::of(components, |_| None))
    }
}

impl Clone for SearchContext {
    /// The memory is shared. The candidates are not: the clone may be changed before it is searched.
    fn clone(&self) -> Self {
        Self { scratch: Arc::clone(&self.scratch), all: OnceLock::new() }
    }
}

/// The rows of a component that may be hits; at least one.
#[derive(Debug)]
pub(crate) struct Candidates {
    /// The number of the component.
    pub(crate) component: usize,
    /// How many rows there are.
    pub(crate) count: usize,
    /// The rows, none of which was removed; `None` stands for all rows that were not removed.
    pub(crate) selected: Option<RoaringBitmap>,
    /// The codes of the selected rows of a segment; known from the first search on.
    codes: OnceLock<ChosenCodes>,
}

impl Candidates {
    /// The components with rows that may be hits, most of them first. `select` says which rows of a component are selected.
    pub(crate) fn of(
        components: &[Component],
        select: impl Fn(&Component) -> Option<RoaringBitmap>,
    ) -> Box<[Self]> {
        let of_component = |(number, component): (usize, &Component)| {
            // A selection of all rows is none.
            let all = component.len();
            let selected = select(component).filter(|rows| (rows.len() as usize) < all);
            let count = selected.as_ref().map_or(all, |rows| rows.len() as usize);
            Self { component: number, count, selected, codes: OnceLock::new() }
        };
        let all = components.iter().enumerate().map(of_component);
        let mut all: Box<[Self]> = all.filter(|candidates| candidates.count > 0).collect();
        all.sort_by_key(|candidates| Reverse(candidates.count));
        all
    }

    /// The most memory in bytes that a selection takes: rows and codes as bits, and the numbers and copies of codes.
    pub(crate) fn memory(&self, component: &Component) -> usize {
        let (Some(_), Some(segment)) = (&self.selected, component.segment()) else { return 0 };
        let bits = (component.rows() + segment.distinct) / 8;
        let few = self.count.min(segment.distinct) < segment.distinct / COPIED_SHARE;
        let copy = if few { bytes_per_code(segment.bits) } else { 0 };
        bits + self.count * (size_of::<u32>() + copy)
    }

    /// The codes of the selected rows, which are those of a segment; `None` where all rows are selected.
    ///
    /// # Errors
    /// A segment that contradicts itself.
    pub(crate) fn codes(&self, segment: &Segment) -> Result<Option<&ChosenCodes>> {
        let Some(rows) = &self.selected else { return Ok(None) };
        if let Some(codes) = self.codes.get() {
            return Ok(Some(codes));
        }
        let (code_of_row, count) = (segment.code_of_row(), segment.distinct);
        let number =
            |row: u32| code_of_row.get(row as usize).filter(|&&code| (code as usize) < count);
        if rows.iter().any(|row| number(row).is_none()) {
            return Err(segment.outside());
        }
        let codes = ChosenCodes::new(count, rows.iter().filter_map(number).copied());
        Ok(Some(self.codes.get_or_init(|| codes)))
    }
}
