//! What a bench prints: `ratio <name> <value>`, and lines for people that begin with `#`.

/// The ratios of several rounds, in the order in which they were measured.
#[derive(Debug, Default)]
pub(crate) struct Ratios(Vec<f64>);

impl Ratios {
    pub(crate) fn add(&mut self, ratio: f64) {
        self.0.push(ratio);
    }

    /// Prints the median, and how far the others lie from it.
    pub(crate) fn print(&self, name: &str, goal: Option<f64>) {
        let median = median(&self.0);
        println!("ratio {name} {median:.2}");
        let rounds: Vec<_> = self.0.iter().map(|ratio| format!("{ratio:.2}")).collect();
        let goal = goal.map_or_else(String::new, |goal| {
            format!(", goal {goal}: {}", if median <= goal { "met" } else { "missed" })
        });
        println!("#   {name}: rounds {}{goal}", rounds.join(" "));
    }
}

/// The middle one.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// How busy the machine is, the bench itself included: figures taken beside other work mean little.
pub(crate) fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().map_or_else(|| "unknown".to_owned(), str::to_owned)
}

/// Whether the bench `name` was asked for: all are, unless names or parts of them stand on the command line.
pub(crate) fn wanted(name: &str) -> bool {
    let mut asked = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).peekable();
    asked.peek().is_none() || asked.any(|part| name.contains(&part))
}
