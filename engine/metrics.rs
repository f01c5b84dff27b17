//! Metrics by name: counters and gauges that any thread adds to, batch by batch, and that are rendered as Prometheus text.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

/// All metrics of a process. Cheap to clone; clones share.
///
/// ```
/// use millpond_engine::Metrics;
/// let metrics = Metrics::default();
/// metrics.counter("millpond_late_records_total", "late records", &[("uid", "views/window")]).add(3);
/// assert!(metrics.render().contains("millpond_late_records_total{uid=\"views/window\"} 3"));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    families: Arc<Mutex<BTreeMap<String, Family>>>,
}

#[derive(Debug)]
struct Family {
    help: String,
    kind: &'static str,
    series: BTreeMap<String, Arc<AtomicI64>>,
}

/// A number that only grows.
#[derive(Clone, Debug)]
pub struct Counter(Arc<AtomicI64>);

impl Counter {
    /// Adds to it.
    #[inline]
    pub fn add(&self, n: u64) {
        if n > 0 {
            self.0.fetch_add(n as i64, Ordering::Relaxed);
        }
    }
    /// Its value.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed) as u64
    }
}

/// A number that goes up and down.
#[derive(Clone, Debug)]
pub struct Gauge(Arc<AtomicI64>);

impl Gauge {
    /// Sets it.
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }
    /// Its value.
    #[must_use]
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Metrics {
    /// The counter with this name and labels; the same one each time it is asked for.
    pub fn counter(&self, name: &str, help: &str, labels: &[(&str, &str)]) -> Counter {
        Counter(self.series(name, help, "counter", labels))
    }

    /// The gauge with this name and labels.
    pub fn gauge(&self, name: &str, help: &str, labels: &[(&str, &str)]) -> Gauge {
        Gauge(self.series(name, help, "gauge", labels))
    }

    fn series(&self, name: &str, help: &str, kind: &'static str, labels: &[(&str, &str)]) -> Arc<AtomicI64> {
        let mut families = self.families.lock().expect("no holder of this lock panics");
        let family = families.entry(name.to_owned());
        let family = family.or_insert_with(|| Family { help: help.to_owned(), kind, series: BTreeMap::new() });
        Arc::clone(family.series.entry(label_text(labels)).or_default())
    }

    /// The sum of a family over all labels.
    #[must_use]
    pub fn total(&self, name: &str) -> i64 {
        let families = self.families.lock().expect("no holder of this lock panics");
        families.get(name).map_or(0, |family| family.series.values().map(|value| value.load(Ordering::Relaxed)).sum())
    }

    /// Everything in Prometheus' text exposition format, version 0.0.4.
    #[must_use]
    pub fn render(&self) -> String {
        let families = self.families.lock().expect("no holder of this lock panics");
        let mut text = String::new();
        for (name, family) in families.iter() {
            let _ = writeln!(text, "# HELP {name} {}\n# TYPE {name} {}", family.help, family.kind);
            for (labels, value) in &family.series {
                let _ = writeln!(text, "{name}{labels} {}", value.load(Ordering::Relaxed));
            }
        }
        text
    }
}

fn label_text(labels: &[(&str, &str)]) -> String {
    if labels.is_empty() {
        return String::new();
    }
    let escape = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let pairs: Vec<_> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escape(value))).collect();
    format!("{{{}}}", pairs.join(","))
}
