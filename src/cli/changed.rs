//! What came of a change, as all commands that change definitions tell it.

use crate::api::changes::dto::{Changed, Plan};
use crate::api::dto::ProblemDocument;
use crate::cli::client::{Reply, read};
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::render::{Paint, local, one_line, out};
use crate::cli::render_plan;
use crate::log::since;

/// # Errors
/// When the definitions cannot be used; what is wrong with them is shown.
pub(crate) fn tell(reply: &Reply, is_json: bool) -> Result<Outcome, Failure> {
    let Some(bytes) = valid(reply, is_json)? else { return Ok(Outcome::NotWell) };
    let changed: Changed = read(bytes)?;
    if is_json {
        out(&format!("{}\n", String::from_utf8_lossy(bytes)));
    } else {
        out(&text(&changed, Paint::for_output()));
    }
    Ok(changed.well.into())
}

/// The answer, where it is not that the definitions cannot be used. `None`: that was told as JSON.
///
/// # Errors
/// That they cannot be used, once all diagnostics are shown.
pub(crate) fn valid(reply: &Reply, is_json: bool) -> Result<Option<&[u8]>, Failure> {
    match reply {
        Reply::Good(bytes) => Ok(Some(bytes)),
        Reply::Invalid(bytes) if is_json => {
            out(&format!("{}\n", String::from_utf8_lossy(bytes)));
            Ok(None)
        }
        Reply::Invalid(bytes) => {
            let document: ProblemDocument = read(bytes)?;
            out(&document.diagnostics);
            Err(Failure::new(Exit::NotWell, document.detail))
        }
    }
}

fn text(changed: &Changed, paint: Paint) -> String {
    let mut text = changed.plan.as_ref().map_or_else(String::new, |plan| touched(plan, paint));
    text += &format!("{}\n", one_line(&changed.text));
    if let Some(until) = &changed.confirm_until {
        text += &format!("it stays until {} at least\n", local(until, since::now()));
    }
    if let Some(incident) = changed.incident {
        text += &format!("`mcsup incidents {incident}` tells why\n");
    }
    text
}

fn touched(plan: &Plan, paint: Paint) -> String {
    plan.warnings.clone() + &render_plan::lines(plan, paint)
}
