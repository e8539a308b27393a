//! The controller's duties around the plan, with every way they can be interrupted.

use zke_plan::{Decision, Step, plan};

use crate::world::{Request, World};

/// One look, one latch, one step; or less, when it crashes. It remembers nothing, so a crash is only stopping early.
pub fn reconcile(world: &mut World) -> Decision {
    let latched = world.status();
    let (mut observed, seen) = world.observe();
    let (mut desired, mut operation) = (world.desired, latched.operation.clone());
    let mutant = world.mutant.filter(|mutant| world.is_faulty() || mutant.is_about_progress());
    if let Some(mutant) = mutant {
        mutant.lie(&mut observed, &mut desired, &mut operation);
    }
    let mut decision = plan(&observed, &desired, operation.as_ref());
    if let Some(mutant) = mutant {
        decision = mutant.bend(&observed, operation.as_ref(), decision);
    }
    if !world.operator_crashes() {
        world.apply_template();
    }
    let Decision::Act(step) = &decision else { return decision };

    // The world moves on between looking and writing.
    world.maybe_tick();
    if !world.latch(&latched, step) {
        return decision;
    }
    if matches!(step, Step::Begin(_) | Step::PutBack { .. } | Step::Finish { .. }) {
        return decision;
    }
    if world.operator_crashes() {
        return decision;
    }
    world.maybe_tick();
    let request = Request { step: step.clone(), seen };
    if world.request_is_late() {
        world.delay(request);
    } else {
        world.act(request);
    }
    decision
}
