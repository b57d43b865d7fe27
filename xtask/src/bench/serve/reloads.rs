//! Reloads of model and index under load: what becomes of searches and additions meanwhile.

use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};

use super::{Bench, good, number, text};
use crate::bench::median;

/// Rounds, in each of which searches are measured without reloads and with them.
const ROUNDS: usize = 3;
/// Between two reloads, as an operator would leave some.
const PAUSE: Duration = Duration::from_millis(250);

impl Bench<'_> {
    /// Searches at 4 connections without reloads and with them, in turns; and additions meanwhile.
    pub(super) fn reloads(&self) -> Result<String> {
        let service = self.serve(&["run", "index"])?;
        let codes = format!("codes={}", text(&self.file("queries.txt"))?);
        let add = format!("add={}", text(&self.file("images/0.png"))?);
        let searches = ["connections=4", &self.seconds(), &codes];
        let additions = ["connections=1", &self.seconds(), &add];
        let wanted = if self.args.quick { 20 } else { 200 };
        let (mut quiet, mut busy, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        let (mut reloads, mut failed, mut longest, mut answered, mut lost, mut added) =
            (0, 0, Duration::ZERO, 0.0, 0.0, 0.0);
        while reloads < wanted || busy.len() < ROUNDS {
            // Items are added in both, so that reloads are all that differs.
            let (seen, _) = std::thread::scope(|scope| {
                let adding = scope.spawn(|| self.load(&service, &additions));
                let seen = self.load(&service, &searches);
                adding.join().map(|added| Ok::<_, anyhow::Error>((seen?, added?)))
            })
            .map_err(|_| anyhow::anyhow!("the load ended early"))??;
            quiet.push(number(&seen, "/accepted_ms/p999")?);
            let over = AtomicBool::new(false);
            let (seen, added_items) = std::thread::scope(|scope| {
                let searching = scope.spawn(|| {
                    let seen = self.load(&service, &searches);
                    over.store(true, Ordering::Relaxed);
                    seen
                });
                let adding = scope.spawn(|| self.load(&service, &additions));
                while !over.load(Ordering::Relaxed) {
                    // A run that did not change is not opened again.
                    self.touch("run/model.safetensors")?;
                    let started = Instant::now();
                    match service.post("/v1/admin/reload")? {
                        200..300 => reloads += 1,
                        _ => failed += 1,
                    }
                    longest = longest.max(started.elapsed());
                    std::thread::sleep(PAUSE);
                }
                match (searching.join(), adding.join()) {
                    (Ok(searches), Ok(additions)) => Ok((searches?, additions?)),
                    _ => bail!("the load ended early"),
                }
            })?;
            if reloads == 0 {
                bail!("no reload was done; {failed} failed");
            }
            busy.push(number(&seen, "/accepted_ms/p999")?);
            refused.push(number(&added_items, "/refused_for_ms")?);
            let all = number(&seen, "/requests")?;
            (answered, lost) = (answered + good(&seen), lost + all - good(&seen));
            added += number(&added_items, "/statuses/201")?;
        }
        service.require_healthy()?;
        let median = |numbers: &[f64]| median(numbers).context("no round was measured");
        let (quiet, busy) = (median(&quiet)?, median(&busy)?);
        let refused = refused.into_iter().fold(0.0, f64::max);
        Ok(format!(
            "Model and index were reloaded {reloads} times under load: {failed} reloads failed, the longest took {:.0} ms. Of {:.0} searches meanwhile, {lost:.0} were not answered. The 99.9th percentile of \
             searches is {busy:.2} ms with reloads and {quiet:.2} ms without, {:.2} times (medians of the rounds). {added:.0} items were added meanwhile; additions were refused for at most \
             {refused:.0} ms. {:.0} MiB of memory after.",
            1e3 * longest.as_secs_f64(),
            answered + lost,
            busy / quiet,
            service.memory("VmRSS")?
        ))
    }

    fn touch(&self, name: &str) -> Result<()> {
        let path = self.file(name);
        let file = File::options().append(true).open(&path);
        let touched = file.and_then(|file| file.set_modified(SystemTime::now()));
        touched.with_context(|| format!("cannot touch {}", path.display()))
    }
}
