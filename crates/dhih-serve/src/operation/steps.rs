//! The steps of a request, such as its search. Where spans are recorded (feature `otel`), each step is one.

/// Does a step of the request that this task answers.
pub(crate) async fn step<T>(name: &'static str, work: impl Future<Output = T>) -> T {
    #[cfg(feature = "otel")]
    return crate::operation::otel::step(name, work).await;
    #[cfg(not(feature = "otel"))]
    {
        let _ = name;
        work.await
    }
}
