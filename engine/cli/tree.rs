//! The plan as a tree for people: from each source down to where its records go. A step that more than one stream reaches is drawn below
//! the last of them, and named below the others.

use std::fmt::Write as _;

use super::plan::Drawn;
use crate::{Node, Plan, Role};

pub(super) fn tree(drawn: &Drawn<'_>) -> String {
    let mut text = format!("{}\n", drawn.title());
    // Producers come before consumers, so what nothing feeds is a root: sources, and where dead letters go.
    for root in drawn.plan.nodes.iter().filter(|node| node.inputs.is_empty()) {
        text.push('\n');
        below(drawn.plan, root, root.id, "", "", &mut text);
    }
    text
}

/// Draws `node` as `from` reaches it: `lead` stands before its own line, `rest` before all lines under it.
fn below(plan: &Plan, node: &Node, from: u32, lead: &str, rest: &str, text: &mut String) {
    let _ = writeln!(text, "{lead}{}", title(node));
    if node.inputs.last().is_some_and(|last| *last != from) {
        return;
    }
    let consumers: Vec<_> = plan.nodes.iter().filter(|consumer| consumer.inputs.contains(&node.id)).collect();
    let bar = if consumers.is_empty() { " " } else { "│" };
    for (name, value) in &node.settings {
        let _ = writeln!(text, "{rest}{bar}  {name}: {value}");
    }
    for note in &node.notes {
        let _ = writeln!(text, "{rest}{bar}  note: {note}");
    }
    for (at, consumer) in consumers.iter().enumerate() {
        let last = at + 1 == consumers.len();
        let (branch, under) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        below(plan, consumer, node.id, &format!("{rest}{branch}"), &format!("{rest}{under}"), text);
    }
}

fn title(node: &Node) -> String {
    let role = if node.role == Role::Stateful { ", keeps state" } else { "" };
    let joins = if node.inputs.len() > 1 { format!(", joins {} streams", node.inputs.len()) } else { String::new() };
    format!("{}  [{}{role}{joins}]", node.uid, node.kind)
}

#[cfg(test)]
mod tests {
    use super::super::plan::Drawn;
    use super::super::plan::tests::{env, flights};
    use crate::{Delivery, Plan};

    #[test]
    fn a_tree_shows_each_step_once_with_its_settings_and_notes() {
        let (env, plan) = (env(), flights());
        let tree = super::tree(&Drawn::new(&env, Delivery::ExactlyOnce, &plan));
        let expected = r#"flights@2, exactly_once

departures  [source]
│  from: log departures
│  event time: 30m behind
└─ departures/union  [union, joins 2 streams]

extra  [source]
└─ extra/map  [map]
   └─ departures/union  [union, joins 2 streams]
      └─ per-hour  [window, keeps state]
         │  size: 1h
         │  say "hi": a\b
         │  note: order-dependent
         ├─ out  [sink]
         │     to: log departures-per-hour
         └─ late  [sink]

bad  [dead letters]
"#;
        assert_eq!(tree, expected, "\n{tree}");
    }

    #[test]
    fn a_stream_joined_with_itself_is_drawn_once_below_itself() {
        let mut plan = flights();
        plan.nodes.truncate(4);
        plan.nodes[3].inputs = vec![2, 2];
        let env = env();
        let tree = super::tree(&Drawn::new(&env, Delivery::ExactlyOnce, &plan));
        assert_eq!(tree.matches("joins 2 streams").count(), 1, "\n{tree}");
        let nothing = Plan::default();
        assert_eq!(super::tree(&Drawn::new(&env, Delivery::ExactlyOnce, &nothing)), "flights@2, exactly_once\n");
    }
}
