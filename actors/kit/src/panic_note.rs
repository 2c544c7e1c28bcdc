//! What a panic said, in one line.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    panic,
    sync::Once,
};

thread_local! {
    static SUPERVISED: Cell<bool> = const { Cell::new(false) };
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Makes panics under supervision silent, since the supervisor tells of them in one line; all others
/// are reported as before. Calling it again changes nothing.
pub fn keep_panics_to_one_line() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let otherwise = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if SUPERVISED.get() {
                let place = info.location().map(|at| format!("{}:{}", at.file(), at.line()));
                PLACE.replace(place);
            } else {
                otherwise(info);
            }
        }));
    });
}

/// Runs something whose panics are caught by the caller.
pub(crate) fn supervised<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    SUPERVISED.set(true);
    let result = panic::catch_unwind(panic::AssertUnwindSafe(run));
    SUPERVISED.set(false);
    result.map_err(|payload| describe(&*payload))
}

fn describe(payload: &(dyn Any + Send)) -> String {
    let said = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned());
    let said = said.replace('\n', " ");
    match PLACE.take() {
        Some(place) => format!("{said} at {place}"),
        None => said,
    }
}
