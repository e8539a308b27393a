//! The controller's duties around the plan, with every way they can be interrupted.

use zke_plan::{Decision, Step, plan};

use crate::world::{Request, World};

/// One look, one latch, one step; or less, when it crashes. It remembers nothing, so a crash is only stopping early.
pub fn reconcile(world: &mut World) -> Decision {
    let latched = world.status();
    let (observed, seen) = world.observe();
    let decision = plan(&observed, &world.desired, latched.operation.as_ref());
    let Decision::Act(step) = &decision else { return decision };

    // The world moves on between looking and writing.
    world.maybe_tick();
    if !world.latch(&latched, step) {
        return decision;
    }
    if matches!(step, Step::Begin(_) | Step::Finish { .. }) {
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
