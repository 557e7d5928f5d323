"""Closed forms, landscapes and training for the study of posterior collapse.

Data flows one way, and a module imports only from its left::

    data -> spectrum -> ppca -> { linear_vae -> linear_training, landscape -> stationary }
    data -> transforms -> vae, convolutional, collapse -> training -> experiments -> sweep
                                                   -> evaluation, generation -> sweep
    files -> checkpoints, results -> sweep
    rows, ppca -> { poster, prediction } -> comparison -> agreement
    adam: the pace at which its memory lets a learned noise variance climb
    streaming: spectra of data that do not fit into memory
    all of these -> claims, figures -> chapters

Conventions that hold throughout: covariances divide by N, never by N - 1; the observation noise
variance is ``sigma_sq`` and its logarithm ``log_sigma_sq``; likelihoods and ELBOs are per
observation, in nats; theory is in float64; everything random takes a ``torch.Generator``.
"""
