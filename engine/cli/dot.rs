//! The plan as a graph in the language of Graphviz: `plan --dot | dot -Tsvg`.

use std::fmt::Write as _;

use super::plan::Drawn;
use crate::{Node, Role};

pub(super) fn dot(drawn: &Drawn<'_>) -> String {
    let mut text = format!("digraph \"{}\" {{\n", escape(&drawn.title()));
    text.push_str("  rankdir=LR;\n  node [fontname=\"sans-serif\", fontsize=11];\n");
    for node in &drawn.plan.nodes {
        let shape = match node.role {
            Role::Source => "cds",
            Role::Step => "box, style=rounded",
            Role::Stateful => "cylinder",
            Role::Sink => "note",
        };
        let _ = writeln!(text, "  n{} [shape={shape}, label=\"{}\"];", node.id, label(node));
    }
    for node in &drawn.plan.nodes {
        for input in &node.inputs {
            let _ = writeln!(text, "  n{input} -> n{};", node.id);
        }
    }
    text.push_str("}\n");
    text
}

fn label(node: &Node) -> String {
    let mut lines = vec![escape(&node.uid)];
    if node.kind != node.uid {
        lines.push(escape(&node.kind));
    }
    lines.extend(node.settings.iter().map(|(name, value)| escape(&format!("{name}: {value}"))));
    lines.extend(node.notes.iter().map(|note| escape(&format!("note: {note}"))));
    lines.join("\\n")
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::super::plan::Drawn;
    use super::super::plan::tests::{env, flights};
    use crate::Delivery;

    #[test]
    fn a_graph_has_every_edge_and_escapes_what_users_wrote() {
        let (env, plan) = (env(), flights());
        let dot = super::dot(&Drawn::new(&env, Delivery::ExactlyOnce, &plan));
        let expected = r#"digraph "flights@2, exactly_once" {
  rankdir=LR;
  node [fontname="sans-serif", fontsize=11];
  n0 [shape=cds, label="departures\nsource\nfrom: log departures\nevent time: 30m behind"];
  n1 [shape=cds, label="extra\nsource"];
  n2 [shape=box, style=rounded, label="extra/map\nmap"];
  n3 [shape=box, style=rounded, label="departures/union\nunion"];
  n4 [shape=cylinder, label="per-hour\nwindow\nsize: 1h\nsay \"hi\": a\\b\nnote: order-dependent"];
  n5 [shape=note, label="out\nsink\nto: log departures-per-hour"];
  n6 [shape=note, label="late\nsink"];
  n7 [shape=note, label="bad\ndead letters"];
  n1 -> n2;
  n0 -> n3;
  n2 -> n3;
  n3 -> n4;
  n4 -> n5;
  n4 -> n6;
}
"#;
        assert_eq!(dot, expected, "\n{dot}");
    }
}
