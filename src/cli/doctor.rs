//! `mcsup doctor`

use std::path::Path;

use serde_json::{Value, json};

use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::render::{Colour, Paint, out};
use crate::doctor::{Finding, Places, Verdict, examine};
use crate::supervisor::home::{Home, Surroundings};

/// Say what this host offers, what mcsup does without the rest, and how to mend it
#[derive(Debug, clap::Args)]
#[command(after_help = "Needs no supervisor. Ends with 1 when something is missing that mcsup needs.\n\n\
    Example:\n  mcsup doctor\n  mcsup doctor --json")]
pub(crate) struct Args {
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args, home: Option<&Path>) -> Result<Outcome, Failure> {
    let Some(Home { state, run, log, .. }) = Home::chosen(&Surroundings::read(), home) else {
        let homeless = Failure::new(Exit::NotWell, "cannot choose directories: neither root nor a HOME");
        return Err(homeless.help("give one with --home DIR"));
    };
    let findings = examine(&Places { state, run, log });
    let is_well = !findings.iter().any(|finding| matches!(finding.verdict, Verdict::Missing(_)));
    if args.json {
        let list: Vec<Value> = findings.iter().map(as_json).collect();
        let version = env!("CARGO_PKG_VERSION");
        out(&format!("{:#}\n", json!({ "version": version, "well": is_well, "findings": list })));
    } else {
        out(&page(&findings, Paint::for_output()));
    }
    Ok(Outcome::from(is_well))
}

fn as_json(finding: &Finding) -> Value {
    let remedy = finding.verdict.remedy();
    json!({
        "name": finding.name,
        "verdict": finding.verdict.word(),
        "seen": finding.seen,
        "without": remedy.map(|remedy| remedy.without),
        "mend": remedy.map(|remedy| &remedy.mend),
    })
}

fn page(findings: &[Finding], paint: Paint) -> String {
    let width = findings.iter().map(|finding| finding.name.len()).max().unwrap_or(0);
    let mut page: String = findings.iter().map(|finding| paragraph(finding, width, paint)).collect();
    let count = |word: &str| findings.iter().filter(|finding| finding.verdict.word() == word).count();
    page +=
        &format!("\n{} good, {} lacking, {} missing\n", count("good"), count("lacking"), count("missing"));
    page
}

fn paragraph(finding: &Finding, width: usize, paint: Paint) -> String {
    let colour = match &finding.verdict {
        Verdict::Good => Colour::Good,
        Verdict::Lacking(_) => Colour::Going,
        Verdict::Missing(_) => Colour::Bad,
    };
    let word = paint.paint(colour, &format!("{:7}", finding.verdict.word()));
    let line = format!("{word}  {:width$}  {}\n", finding.name, finding.seen);
    let indent = " ".repeat("missing".len() + 2 + width + 2);
    let remedy = finding.verdict.remedy();
    let remedy =
        remedy.map(|remedy| format!("{indent}without: {}\n{indent}mend: {}\n", remedy.without, remedy.mend));
    line + &remedy.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Remedy;

    #[test]
    fn the_page_says_what_is_done_without_and_how_to_mend_it() {
        let remedy = Remedy { without: "it is dark", mend: "open the shutters".to_owned() };
        let findings = [
            Finding { name: "air", seen: "fresh".to_owned(), verdict: Verdict::Good },
            Finding { name: "light", seen: "none".to_owned(), verdict: Verdict::Lacking(remedy) },
        ];
        let indent = " ".repeat(16);
        assert_eq!(
            page(&findings, Paint { is_on: false }),
            format!(
                "good     air    fresh\nlacking  light  none\n{indent}without: it is dark\n{indent}mend: open the \
                 shutters\n\n1 good, 1 lacking, 0 missing\n"
            )
        );
    }
}
