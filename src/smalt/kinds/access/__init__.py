"""Who may do what, and what nobody may: kinds that hang on any resource."""
