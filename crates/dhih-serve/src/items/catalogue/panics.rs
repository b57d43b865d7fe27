//! redb panics where it finds that a file is damaged. `guarded` makes that an error of the file.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    /// Whether a panic of this thread is reported as an error, and not by the hook.
    static IS_GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Does work that may panic.
///
/// # Errors
/// The message of the panic.
pub(super) fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let print = take_hook();
        set_hook(Box::new(move |panic| match IS_GUARDED.get() {
            true => tracing::debug!(%panic, "the catalogue cannot be read"),
            false => print(panic),
        }));
    });
    let before = IS_GUARDED.replace(true);
    let done = catch_unwind(AssertUnwindSafe(work));
    IS_GUARDED.set(before);
    done.map_err(|panic| {
        let message = panic.downcast_ref::<String>().map(String::as_str);
        let message = message.or_else(|| panic.downcast_ref::<&str>().copied());
        message.unwrap_or("it cannot be read").to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::guarded;

    #[test]
    fn a_panic_is_an_error_with_its_message() {
        assert_eq!(guarded(|| 7), Ok(7));
        let part = 5;
        assert_eq!(guarded(|| assert_eq!(part, 5)), Ok(()));
        let failed = guarded(|| panic!("page {part} is wrong"));
        assert_eq!(failed, Err::<(), _>("page 5 is wrong".into()));
        assert_eq!(guarded(|| panic!("wrong")), Err::<(), _>("wrong".into()));
    }
}
