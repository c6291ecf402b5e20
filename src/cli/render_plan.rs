//! A plan as people read it: like a good diff, with what each difference does and why.

use crate::api::changes::dto::{KeyDifference, Plan, PlanStep};
use crate::cli::render::{Colour, Paint, one_line};

/// All of it: each unit with its keys, the settings, and the sum.
pub(crate) fn whole(plan: &Plan, paint: Paint) -> String {
    let widest = widest(plan);
    let mut text = String::new();
    for step in &plan.steps {
        text += &line(step, widest, paint);
        text += &step.differences.iter().map(|one| key(one, paint)).collect::<String>();
    }
    if !plan.settings.is_empty() {
        text +=
            &format!("{} {}\n", paint.paint(Colour::Going, "~"), paint.paint(Colour::Strong, "mcsup.yaml"));
        text += &plan.settings.iter().map(|one| key(one, paint)).collect::<String>();
    }
    if !text.is_empty() {
        text.push('\n');
    }
    let settings = plan.approval_settings.iter().map(|key| format!("`{key}` of mcsup.yaml"));
    let waits: Vec<String> = plan.approval.iter().cloned().chain(settings).collect();
    if !waits.is_empty() {
        text += &format!("it waits for `mcsup approve`, as it changes {}\n", waits.join(", "));
    }
    text + &one_line(&plan.summary) + "\n"
}

/// A line for each unit, and nothing else.
pub(crate) fn lines(plan: &Plan, paint: Paint) -> String {
    let widest = widest(plan);
    plan.steps.iter().map(|step| line(step, widest, paint)).collect()
}

fn widest(plan: &Plan) -> usize {
    plan.steps.iter().map(|step| step.unit.len()).max().unwrap_or(0)
}

fn line(step: &PlanStep, widest: usize, paint: Paint) -> String {
    // By eye and by grep, not by colour alone.
    let (mark, colour) = match &*step.action {
        "start" | "add" => ("+", Colour::Good),
        "remove" => ("-", Colour::Bad),
        "live" | "metadata" | "rename" => (".", Colour::Faint),
        _ => ("~", Colour::Going),
    };
    let unit = paint.paint(Colour::Strong, &format!("{:widest$}", step.unit));
    format!("{} {unit}  {}\n", paint.paint(colour, mark), one_line(&step.text))
}

fn key(difference: &KeyDifference, paint: Paint) -> String {
    let KeyDifference { path, class, why, before, after, .. } = difference;
    let why = if why.is_empty() { class.clone() } else { format!("{class}: {why}") };
    let mut text = format!("    {}  {}\n", one_line(path), paint.paint(Colour::Faint, &one_line(&why)));
    for (mark, colour, value) in [("-", Colour::Bad, before), ("+", Colour::Good, after)] {
        if !value.is_empty() {
            text += &format!("      {}\n", paint.paint(colour, &format!("{mark} {}", one_line(value))));
        }
    }
    text
}
