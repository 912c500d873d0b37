"""Many runs from one configuration: sweeps, optimisation, walk forward."""
