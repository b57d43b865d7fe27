//! Handing items over to another run during a reload: detects whether a path leads to the files that are open, and closes them where a
//! rebuilt index has replaced them. Only in this case are changes affected, and they are refused at once instead of waiting.

use std::path::Path;
use std::sync::atomic::Ordering;

use crate::file_identity::FileIdentity;
use crate::items::LocalItems;

impl LocalItems {
    /// Whether a path leads to this directory. Links in `dir` are followed now, and those in the directory's own path were followed when it
    /// was opened, so a link that was moved is noticed.
    pub(crate) fn is_at(&self, dir: &Path) -> bool {
        FileIdentity::of(dir).is_ok_and(|identity| identity == self.identity)
    }

    /// Whether a path leads to these files, and no other process has changed or replaced them.
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

    /// Refuses all further changes as [`Reloading`](super::ChangeError::Reloading) and closes the writer of the index, so that another run
    /// can open the index for writing.
    pub(crate) fn close(&self) {
        let Some(writing) = &self.writing else { return };
        writing.is_closed.store(true, Ordering::Release);
        // Dropping the writer waits for a merge in the background.
        let writer = writing.changes().writer.take();
        drop(writer);
    }

    /// Refuses all further changes as [`Reloading`](super::ChangeError::Reloading) if these items are a copy. Returns whether they are. A
    /// promotion has either happened before, or is refused, so that no change of a client can be lost with this copy.
    pub(crate) fn close_copy(&self) -> bool {
        let Some(writing) = &self.writing else { return false };
        let _no_change = writing.changes();
        let is_copy = writing.primary.load().is_some();
        if is_copy {
            writing.is_closed.store(true, Ordering::Release);
        }
        is_copy
    }

    /// Undoes [`close`](Self::close) and [`close_copy`](Self::close_copy): the next change reopens the files if they are still the same.
    pub(crate) fn resume(&self) {
        if let Some(writing) = &self.writing {
            writing.is_closed.store(false, Ordering::Release);
        }
    }
}
