//! `config`: the context file.

use std::path::Path;

use serde_json::{Value, json};

use crate::args::{AddContextArgs, ConfigVerb, FileArgs, Output};
use crate::context::{self, Context, ContextError, ContextFile, server_url};
use crate::context_edit::{load_or_begin, save};
use crate::failure::Failure;
use crate::print::table::{Cell, Table};
use crate::print::{document, has_color, out, say};

/// `skerry config ...`.
pub(crate) fn run(verb: ConfigVerb) -> Result<(), Failure> {
    match verb {
        ConfigVerb::GetContexts { output, file } => contexts(&file, output.output),
        ConfigVerb::CurrentContext { file } => current(&file),
        ConfigVerb::UseContext { name, file } => use_context(&name, &file),
        ConfigVerb::AddContext(args) => add(args),
    }
}

fn contexts(file: &FileArgs, output: Output) -> Result<(), Failure> {
    let path = context::path(file.config.as_deref())?;
    Ok(out(&shown(&context::load(&path)?, output)?)?)
}

fn shown(file: &ContextFile, output: Output) -> Result<String, Failure> {
    let is_current = |name: &String| file.current_context.as_ref() == Some(name);
    let document = || -> Vec<Value> {
        let one = |(name, context): (&String, &Context)| json!({"name": name, "current": is_current(name), "server": context.server, "region": context.region});
        file.contexts.iter().map(one).collect()
    };
    match output {
        Output::Json => document::json(&Value::Array(document())),
        Output::Yaml => document::yaml(&Value::Array(document())),
        Output::Name => Ok(file.contexts.keys().flat_map(|name| [name, "\n"]).collect()),
        Output::Table | Output::Wide => {
            let rows: Vec<Vec<Cell>> = file
                .contexts
                .iter()
                .map(|(name, context)| {
                    let mark = if is_current(name) { "*" } else { "" };
                    let region = context.region.as_deref().unwrap_or_default();
                    vec![Cell::new(mark), Cell::new(name), Cell::new(&context.server), Cell::new(region)]
                })
                .collect();
            Ok(Table::new(vec!["CURRENT", "NAME", "SERVER", "REGION"], has_color()).whole(&rows))
        }
    }
}

fn current(file: &FileArgs) -> Result<(), Failure> {
    let path = context::path(file.config.as_deref())?;
    let contexts = context::load(&path)?;
    let (name, _) = contexts.select(None, &path)?;
    Ok(out(&format!("{name}\n"))?)
}

fn use_context(name: &str, file: &FileArgs) -> Result<(), Failure> {
    let path = context::path(file.config.as_deref())?;
    let mut contexts = context::load(&path)?;
    contexts.select(Some(name), &path)?;
    contexts.current_context = Some(name.to_owned());
    save(&path, &contexts)?;
    say(&format!("'{name}' is the current context"));
    Ok(())
}

/// Paths are kept absolute: what is typed is relative to where it is typed, what stands in the file to the file.
fn add(args: AddContextArgs) -> Result<(), Failure> {
    let path = context::path(args.file.config.as_deref())?;
    let mut contexts = load_or_begin(&path)?;
    let name = args.name;
    let absolute = |what: &'static str, given: &Path| {
        given.canonicalize().map(|path| path.display().to_string()).map_err(|source| ContextError::Pem {
            name: name.clone(),
            what,
            path: given.to_owned(),
            source,
        })
    };
    let context = Context {
        server: server_url(&name, &args.server)?,
        ca: absolute("the CA certificate (--ca)", &args.ca)?,
        cert: absolute("the certificate (--cert)", &args.cert)?,
        key: absolute("the key (--key)", &args.key)?,
        region: args.region,
    };
    // Read once here, so that a wrong file is told of where it was named.
    context.credentials(&name, &path)?;
    contexts.contexts.insert(name.clone(), context);
    if args.make_current || contexts.current_context.is_none() {
        contexts.current_context = Some(name.clone());
    }
    save(&path, &contexts)?;
    say(&format!("context '{name}' is in {}", path.display()));
    Ok(())
}
