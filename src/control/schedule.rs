//! The refresh: tokio-cron-scheduler says when, and a monotonic clock sees to it that it does.
//!
//! Its repeated jobs stop for good when the process slept through ticks (0.15.1); its cron jobs survive. So an
//! interval is run as a repeated job with a guard beside it, and a cron expression as it is.

use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};

use crate::settings::Refresh;

/// A running schedule. It stops when it is dropped.
pub struct Schedule {
    scheduler: JobScheduler,
    refreshes: watch::Receiver<u64>,
    guard: tokio::task::JoinHandle<()>,
}

/// Starts the refresh.
///
/// # Errors
/// When the cron expression cannot be read: a sentence without a full stop.
pub async fn start(refresh: &Refresh) -> Result<Schedule, String> {
    let (tick, refreshes) = watch::channel(0_u64);
    let job = job(refresh, tick.clone()).map_err(|error| explain(refresh, &error))?;
    let scheduler = JobScheduler::new().await.map_err(|error| explain(refresh, &error))?;
    scheduler.add(job).await.map_err(|error| explain(refresh, &error))?;
    scheduler.start().await.map_err(|error| explain(refresh, &error))?;
    let guard = match refresh {
        Refresh::Every(time) => tokio::spawn(guard(*time, tick)),
        Refresh::Cron(_) => tokio::spawn(std::future::ready(())),
    };
    Ok(Schedule { scheduler, refreshes, guard })
}

impl Schedule {
    /// Changes at each refresh.
    pub fn refreshes(&self) -> watch::Receiver<u64> {
        self.refreshes.clone()
    }

    /// Stops it.
    pub async fn stop(mut self) {
        self.guard.abort();
        // What cannot be stopped ends with the process.
        let _ = self.scheduler.shutdown().await;
    }
}

fn job(refresh: &Refresh, tick: watch::Sender<u64>) -> Result<Job, JobSchedulerError> {
    let run = move |_, _| {
        tick.send_modify(|count| *count += 1);
        Box::pin(std::future::ready(())) as _
    };
    match refresh {
        Refresh::Every(time) => Job::new_repeated_async(*time, run),
        Refresh::Cron(expression) => Job::new_async(expression, run),
    }
}

/// Ticks itself when the scheduler has not for half an interval too long.
async fn guard(time: Duration, tick: watch::Sender<u64>) {
    let mut seen = tick.subscribe();
    let mut last = Instant::now();
    loop {
        let patience = (time + time / 2).saturating_sub(last.elapsed());
        match tokio::time::timeout(patience, seen.changed()).await {
            Ok(_) => {}
            Err(_) => tick.send_modify(|count| *count += 1),
        }
        seen.mark_unchanged();
        last = Instant::now();
    }
}

fn explain(refresh: &Refresh, error: &JobSchedulerError) -> String {
    match refresh {
        Refresh::Every(time) => format!("refresh every {time:?} cannot be scheduled: {error}"),
        Refresh::Cron(expression) => format!(
            "refresh \"{expression}\" is not a cron expression ({error}); write 60s, or six fields \
             from seconds to weekdays: \"0 */5 * * * *\""
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_interval_and_a_cron_expression_tick() {
        for refresh in
            [Refresh::Every(Duration::from_secs(1)), Refresh::Cron("* * * * * *".to_owned())]
        {
            let schedule = start(&refresh).await.expect("a good refresh");
            let mut refreshes = schedule.refreshes();
            for _ in 0..2 {
                let tick = tokio::time::timeout(Duration::from_secs(10), refreshes.changed());
                tick.await.expect("a tick in time").expect("the schedule runs");
            }
            schedule.stop().await;
        }
    }

    #[tokio::test]
    async fn the_guard_ticks_when_nobody_else_does() {
        let (tick, mut refreshes) = watch::channel(0);
        tokio::spawn(guard(Duration::from_millis(10), tick));
        for _ in 0..2 {
            let waited = tokio::time::timeout(Duration::from_secs(10), refreshes.changed());
            waited.await.expect("a tick in time").expect("the guard runs");
        }
    }

    #[tokio::test]
    async fn a_wrong_expression_is_named() {
        let wrong = Refresh::Cron("every now and then or so".to_owned());
        let why = start(&wrong).await.err().expect("not an expression");
        assert!(why.contains("every now and then"), "{why}");
    }
}
