//! A reload, as these items see it: whether the files that a path leads to now are those that are open, and letting go of them where an
//! index was built anew in their place. Only then do changes have to wait, and that is told at once instead.

use std::path::Path;
use std::sync::atomic::Ordering;

use crate::file_identity::FileIdentity;
use crate::items::LocalItems;

impl LocalItems {
    /// Whether a path leads to this directory. Links are resolved now, and the directory's own path was when it was opened, so that a
    /// link that was moved is noticed.
    pub(crate) fn is_at(&self, dir: &Path) -> bool {
        FileIdentity::of(dir).is_ok_and(|identity| identity == self.identity)
    }

    /// Whether a path leads to these very files, which no other process has changed or replaced.
    pub(crate) fn is_current_at(&self, dir: &Path) -> bool {
        if !self.is_at(dir) || dir.canonicalize().ok().as_deref() != Some(&*self.dir) {
            return false;
        }
        let Some(writing) = &self.writing else {
            return matches!(self.index().refresh(), Ok(None));
        };
        let changes = writing.changes();
        let writer = changes.writer.as_ref();
        writing.is_catalogue_current()
            && writer.is_some_and(|writer| matches!(writer.snapshot().refresh(), Ok(None)))
    }

    /// Makes no more changes, and lets go of the index, so that it can be opened to be changed elsewhere. Changes are refused at once from
    /// now on, as [`Reloading`](super::ChangeError::Reloading).
    pub(crate) fn close(&self) {
        let Some(writing) = &self.writing else { return };
        writing.is_closed.store(true, Ordering::Release);
        // A merge in the background is waited for.
        let writer = writing.changes().writer.take();
        drop(writer);
    }

    /// Takes back [`close`](Self::close): the next change opens the files again, if they are still the same.
    pub(crate) fn resume(&self) {
        if let Some(writing) = &self.writing {
            writing.is_closed.store(false, Ordering::Release);
        }
    }
}
