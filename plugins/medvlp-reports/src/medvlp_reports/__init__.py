"""Report filters: extract the findings of radiology reports, their presence and position."""
