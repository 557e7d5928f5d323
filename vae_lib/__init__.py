"""Closed forms, landscapes and training for the study of posterior collapse.

Data flows one way. A module imports only from the lines above its own, and from what stands to the
left of an arrow on its own line::

    tools     checks, files, provenance, rows, tables
    images    _sources -> _mnist_sources, _celeba_sources -> mnist, celeba, identity -> data
    linear    adam, landscape, spectrum, streaming -> examples, ppca -> linear_vae, stationary
              -> linear_training
    verdicts  claims, poster, prediction, results -> comparison -> agreement
    deep      collapse, convolutional, transforms, vae -> generation, training -> evaluation
    sweeps    checkpoints, experiments, progress -> engines, runs -> sweep
    shown     figures

Conventions that hold throughout: covariances divide by N, never by N - 1; the observation noise
variance is ``sigma_sq`` and its logarithm ``log_sigma_sq``; likelihoods and ELBOs are per
observation, in nats; theory is in float64; everything random takes a ``torch.Generator``.
"""
