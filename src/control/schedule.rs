//! The refresh: at an interval, or when tokio-cron-scheduler says so.
//!
//! Its repeated jobs stop for good when the process slept through ticks (0.15.1); its cron jobs survive. So an interval
//! goes by Tokio's own clock.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};

use crate::settings::Refresh;

/// A running schedule. It stops when it is dropped; [`Schedule::stop`] waits for that.
pub struct Schedule {
    clock: Clock,
    refreshes: watch::Receiver<u64>,
}

enum Clock {
    Interval(JoinHandle<()>),
    // It is large, and rare.
    Cron(Box<JobScheduler>),
}

/// Starts the refresh.
///
/// # Errors
/// When the cron expression cannot be read: a sentence without a full stop.
pub async fn start(refresh: &Refresh) -> Result<Schedule, String> {
    let (tick, refreshes) = watch::channel(0_u64);
    let clock = match refresh {
        Refresh::Every(time) => Clock::Interval(tokio::spawn(every(*time, tick))),
        Refresh::Cron(expression) => {
            let scheduler = cron(expression, tick).await.map_err(|error| {
                format!(
                    "refresh \"{expression}\" is not a cron expression ({error}); write 60s, or six fields from seconds to \
                     weekdays: \"0 */5 * * * *\""
                )
            })?;
            Clock::Cron(Box::new(scheduler))
        }
    };
    Ok(Schedule { clock, refreshes })
}

impl Schedule {
    /// Changes at each refresh.
    pub fn refreshes(&self) -> watch::Receiver<u64> {
        self.refreshes.clone()
    }

    /// Stops it.
    pub async fn stop(self) {
        match self.clock {
            Clock::Interval(task) => task.abort(),
            // What cannot be stopped ends with the process.
            Clock::Cron(mut scheduler) => _ = scheduler.shutdown().await,
        }
    }
}

async fn every(time: Duration, tick: watch::Sender<u64>) {
    let mut interval = interval(time);
    // After the process stood still one refresh is as good as ten.
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first comes at once: everybody was just asked.
    interval.tick().await;
    loop {
        tokio::select! {
            _ = interval.tick() => tick.send_modify(|count| *count += 1),
            () = tick.closed() => return,
        }
    }
}

async fn cron(
    expression: &str,
    tick: watch::Sender<u64>,
) -> Result<JobScheduler, JobSchedulerError> {
    let job = Job::new_async(expression, move |_, _| {
        tick.send_modify(|count| *count += 1);
        Box::pin(std::future::ready(()))
    })?;
    let scheduler = JobScheduler::new().await?;
    scheduler.add(job).await?;
    scheduler.start().await?;
    Ok(scheduler)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[tokio::test]
    async fn an_interval_and_a_cron_expression_tick() {
        let second = Duration::from_secs(1);
        let of_cron = Refresh::Cron("* * * * * *".to_owned());
        for (refresh, least) in [(Refresh::Every(second), 2 * second), (of_cron, second)] {
            let began = Instant::now();
            let schedule = start(&refresh).await.expect("a good refresh");
            let mut refreshes = schedule.refreshes();
            for _ in 0..2 {
                let tick = tokio::time::timeout(Duration::from_secs(10), refreshes.changed());
                tick.await.expect("a tick in time").expect("the schedule runs");
            }
            // The first of a cron expression comes with the clock's next second.
            assert!(began.elapsed() + Duration::from_millis(50) >= least, "{refresh:?}: too early");
            schedule.stop().await;
        }
    }

    #[tokio::test]
    async fn one_tick_makes_up_for_those_that_were_missed() {
        let (tick, mut refreshes) = watch::channel(0);
        let task = tokio::spawn(every(Duration::from_millis(200), tick));
        refreshes.changed().await.expect("it runs");
        #[expect(clippy::disallowed_methods, reason = "the process stands still")]
        std::thread::sleep(Duration::from_secs(2));
        tokio::time::sleep(Duration::from_millis(20)).await;
        // One more, and one or two where this test is held up; not the ten that were missed.
        let ticks = *refreshes.borrow_and_update();
        assert!((2..7).contains(&ticks), "{ticks}");
        drop(refreshes);
        task.await.expect("it ends with the last who wants to know");
    }

    #[tokio::test]
    async fn a_wrong_expression_is_named() {
        let wrong = Refresh::Cron("every now and then or so".to_owned());
        let why = start(&wrong).await.err().expect("not an expression");
        assert!(why.contains("every now and then"), "{why}");
    }
}
