"""Makes up customers of a telephone company, and whether each of them left."""

import numpy as np
import pandas as pd

FEATURES = [
    "tenure",
    "monthly_charges",
    "total_charges",
    "contract_length",
    "num_support_tickets",
    "payment_method_encoded",
    "internet_service_encoded",
    "has_online_security",
    "has_tech_support",
    "has_streaming",
]


def customers(rows: int, seed: int) -> pd.DataFrame:
    """One customer a row: FEATURES, and `churned` (0 or 1), which depends on some of them and on chance."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"tenure": rng.integers(1, 73, rows), "monthly_charges": rng.uniform(20, 130, rows).round(2)})
    frame["total_charges"] = (frame.tenure * frame.monthly_charges).round(2)
    frame["contract_length"] = rng.choice([1, 12, 24], rows, p=[0.55, 0.25, 0.2])
    frame["num_support_tickets"] = rng.poisson(1.4, rows)
    frame["payment_method_encoded"] = rng.integers(0, 4, rows)
    frame["internet_service_encoded"] = rng.integers(0, 3, rows)
    for service in ("has_online_security", "has_tech_support", "has_streaming"):
        frame[service] = rng.integers(0, 2, rows)
    unhappiness = (
        0.04 * frame.monthly_charges
        + 0.7 * frame.num_support_tickets
        - 0.08 * frame.tenure
        - 0.09 * frame.contract_length
        - 1.0 * frame.has_tech_support
        - 0.9 * frame.has_online_security
    )
    probability = 1 / (1 + np.exp(-1.5 * (unhappiness - unhappiness.median())))
    frame["churned"] = (rng.random(rows) < probability).astype(int)
    return frame
