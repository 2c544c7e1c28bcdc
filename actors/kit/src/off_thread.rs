//! Work that would hold up an actor's thread.

use std::any::Any;

/// The work panicked, with this.
#[derive(Debug)]
pub struct Panicked(pub Box<dyn Any + Send>);

impl std::fmt::Display for Panicked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let said = self.0.downcast_ref::<&str>().copied();
        let said = said.or_else(|| self.0.downcast_ref::<String>().map(String::as_str));
        f.write_str(said.unwrap_or("a panic without a message"))
    }
}

/// Does something on a blocking thread. In a simulation it is done here, after whatever else is due,
/// so that the same seed gives the same run.
///
/// # Errors
/// It panicked, or the runtime is shutting down.
pub async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Panicked> {
    #[cfg(any(test, feature = "testing"))]
    if crate::probe::is_simulated() {
        tokio::task::yield_now().await;
        let work = std::panic::AssertUnwindSafe(work);
        return std::panic::catch_unwind(work).map_err(Panicked);
    }
    tokio::task::spawn_blocking(work).await.map_err(|error| match error.try_into_panic() {
        Ok(panic) => Panicked(panic),
        Err(error) => Panicked(Box::new(error.to_string())),
    })
}
