//! What callers may ask to be done.

use axum::extract::{Path, State};
use axum::response::Response;

use crate::api::Shared;
use crate::api::body::{Json, RequiredJson};
use crate::api::caller::MayChange;
use crate::api::dto::{self, Verb};
use crate::api::problem::{self, Problem};
use crate::api::status::{json, unknown};
use crate::engine::effect::Answer;
use crate::engine::event::Ask;
use crate::supervisor::handle::Finale;
use crate::supervisor::words::name_of;
use crate::unit::name::UnitName;
use crate::unit::spec::SignalNumber;

macro_rules! unit_action {
    ($(#[$says:meta])* $name:ident, $path:literal, $verb:expr) => {
        $(#[$says])*
        #[utoipa::path(post, path = $path,
            params(("name" = String, Path, description = "The unit's name, or that of all its replicas and instances")),
            request_body(content = dto::ActionOptions, description = "May be left out"),
            responses(
                (status = 200, body = dto::Outcome),
                problem::BadRequest, problem::NotPermitted, problem::NotFound, problem::Conflict,
        ))]
        pub(crate) async fn $name(
            _: MayChange,
            State(shared): State<Shared>,
            Path(name): Path<String>,
            Json(options): Json<dto::ActionOptions>,
        ) -> Result<Response, Problem> {
            let dto::ActionOptions { wait, only, signal } = options;
            carry_out(&shared, dto::Action { action: $verb, units: vec![name], wait, only, signal }).await
        }
    };
}

unit_action!(
    /// Start a unit and what it requires.
    start, "/v1/units/{name}/start", Verb::Start
);
unit_action!(
    /// Stop a unit, after the units that require it.
    stop, "/v1/units/{name}/stop", Verb::Stop
);
unit_action!(
    /// Restart a unit; its dependents follow only where they say so.
    restart, "/v1/units/{name}/restart", Verb::Restart
);
unit_action!(
    /// Run a job once, now.
    run, "/v1/units/{name}/run", Verb::Run
);
unit_action!(
    /// Send a signal to every process of a unit's run.
    kill, "/v1/units/{name}/kill", Verb::Kill
);

/// An action on several units at once.
#[utoipa::path(post, path = "/v1/actions", request_body = dto::Action,
    responses(
        (status = 200, body = dto::Outcome),
        problem::BadRequest, problem::NotPermitted, problem::NotFound, problem::Conflict, problem::TooLarge,
))]
pub(crate) async fn act(
    _: MayChange,
    State(shared): State<Shared>,
    RequiredJson(action): RequiredJson<dto::Action>,
) -> Result<Response, Problem> {
    carry_out(&shared, action).await
}

/// Stop everything in reverse order and end.
#[utoipa::path(post, path = "/v1/shutdown",
    request_body(content = dto::ShutdownOptions, description = "May be left out"),
    responses(
        (status = 200, body = dto::Outcome),
        problem::BadRequest, problem::NotPermitted, problem::Conflict,
))]
pub(crate) async fn shutdown(
    _: MayChange,
    State(shared): State<Shared>,
    Json(options): Json<dto::ShutdownOptions>,
) -> Result<Response, Problem> {
    let exit_code = options.exit_code.unwrap_or(0);
    if let Some(end) = options.machine
        && !shared.handle.at_end(finale(end)).await?
    {
        return Err(Problem::BadRequest(NO_MACHINE.to_owned()));
    }
    let ask = if options.now.unwrap_or(false) {
        Ask::ShutdownNow { exit_code }
    } else {
        Ask::Shutdown { exit_code }
    };
    answer(&shared, ask).await
}

fn finale(end: dto::MachineEnd) -> Finale {
    match end {
        dto::MachineEnd::Reboot => Finale::Reboot,
        dto::MachineEnd::PowerOff => Finale::PowerOff,
        dto::MachineEnd::Halt => Finale::Halt,
    }
}

const NO_MACHINE: &str = "cannot end the machine: this mcsup is not its process 1; ask the init that is";

async fn carry_out(shared: &Shared, action: dto::Action) -> Result<Response, Problem> {
    if action.units.is_empty() {
        return Err(Problem::BadRequest("`units` names no unit".to_owned()));
    }
    // What a name means is for the engine to say; a text that cannot be one means nothing.
    let names: Result<Vec<UnitName>, &String> =
        action.units.iter().map(|name| UnitName::new(name).map_err(|_no_name| name)).collect();
    match names {
        Ok(units) => answer(shared, ask(&action, units)?).await,
        Err(name) => {
            let set = shared.handle.status(Some(Vec::new())).await?.set;
            Err(unknown(&set, name))
        }
    }
}

fn ask(action: &dto::Action, units: Vec<UnitName>) -> Result<Ask, Problem> {
    let wait = action.wait.unwrap_or(true);
    if action.only.is_some() && action.action != Verb::Stop {
        return Err(Problem::BadRequest("`only` belongs to `stop`".to_owned()));
    }
    if action.signal.is_some() && action.action != Verb::Kill {
        return Err(Problem::BadRequest("`signal` belongs to `kill`".to_owned()));
    }
    Ok(match action.action {
        Verb::Start => Ask::Start { units, wait },
        Verb::Stop => Ask::Stop { units, only: action.only.unwrap_or(false), wait },
        Verb::Restart => Ask::Restart { units, wait },
        Verb::Run => Ask::Run { units, wait },
        Verb::Kill => Ask::Kill { units, signal: signal(action.signal.as_deref())? },
    })
}

fn signal(text: Option<&str>) -> Result<SignalNumber, Problem> {
    let Some(text) = text else { return Ok(SignalNumber::KILL) };
    SignalNumber::parse(text)
        .ok_or_else(|| Problem::BadRequest(format!("`{text}` is no signal; write `SIGHUP`, `HUP` or `1`")))
}

async fn answer(shared: &Shared, ask: Ask) -> Result<Response, Problem> {
    let (well, lines) = match shared.handle.ask(ask).await? {
        Answer::Done(lines) => (true, lines),
        Answer::NotWell(lines) => (false, lines),
        Answer::Unknown { unit, nearest } => {
            let nearest = nearest.iter().map(ToString::to_string).collect();
            return Err(Problem::UnknownUnit { unit: unit.to_string(), nearest });
        }
        Answer::Refused(why) => return Err(Problem::Refused(why.into())),
    };
    // Asked for after the answer: the lines speak of the units as they are by then.
    let set = shared.handle.status(Some(Vec::new())).await?.set;
    let lines = lines.into_iter().map(|line| dto::OutcomeLine {
        unit: name_of(&set, line.unit).to_owned(),
        well: line.is_well,
        text: line.text.into(),
    });
    Ok(json(&dto::Outcome { well, lines: lines.collect() }, 1024))
}
