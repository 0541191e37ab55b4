"""SLBO and what is built on its training inside the model: SMT, active task selection, AdMRL."""
